"""What a session does: an operation of steps, chosen once from the tools that the server has. Pure.

The sample plan needs `set_session_value` and `get_session_state`, or tools of the user's that do the same: operation N
writes seq_N and reads everything back. A server without them gets the ping plan: it is asked for its tools, and a tool
of the user's choice is called, which shows at least whether the session is still known.

With session handles, `create_session` mints one, and every tool with an argument `session` is given it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.probe.checker import KEY_PREFIX
from rollproof.probe.options import Activity, Increments, ProbeOptions, SessionIds

WRITE, READ, INCREMENT, SLOW, PING = "set_session_value", "get_session_state", "increment", "slow", "ping"
CREATE, END, HANDLE = "create_session", "end_session", "session"
CONFIRM, SAMPLE, ROOTS, ANNOUNCE = "confirm", "sample", "roots", "announce"

TOOL_OF: Mapping[Activity, str] = {
    Activity.ELICITATION: CONFIRM,
    Activity.SAMPLING: SAMPLE,
    Activity.ROOTS: ROOTS,
    Activity.PROGRESS: SLOW,
    Activity.STREAM: ANNOUNCE,
    Activity.RESUME: SLOW,
    Activity.TASKS: SLOW,
}
"""The tool that an activity calls. To delete a session needs none."""


@dataclass(frozen=True)
class Write:
    tool: str
    arguments: Mapping[str, Any]
    key: str
    value: str


@dataclass(frozen=True)
class Read:
    """`is_by_text`: the answer has no object named state; what was written is looked for in it as it stands."""

    tool: str
    arguments: Mapping[str, Any]
    is_by_text: bool = False


@dataclass(frozen=True)
class Increment:
    """`key` names this increment; `repeatable` where the server knows it too."""

    tool: str
    arguments: Mapping[str, Any]
    key: str
    repeatable: bool


@dataclass(frozen=True)
class CallTool:
    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ListTools:
    tool: str = "tools/list"
    arguments: Mapping[str, Any] = field(default_factory=dict)


Step = Write | Read | Increment | CallTool | ListTools


@dataclass(frozen=True)
class Plan:
    """`name` is "sample" or "ping"; `missing` are the tools that were asked for and are not there."""

    name: str
    options: ProbeOptions
    tools: Mapping[str, Mapping[str, Any]]  # name -> properties of its input schema
    missing: tuple[str, ...] = ()

    @property
    def activities(self) -> tuple[Activity, ...]:
        """Those that were asked for and whose tool is there."""
        asked = self.options.activities
        return tuple(activity for activity in asked if TOOL_OF.get(activity) in (None, *self.tools))

    def arguments(self, tool: str, arguments: Mapping[str, Any], handle: str) -> Mapping[str, Any]:
        """With the session's handle, where there is one and the tool takes it."""
        return {**arguments, HANDLE: handle} if handle and HANDLE in self.tools.get(tool, {}) else arguments

    def steps(self, session: str, number: int) -> Sequence[Step]:
        """Operation `number` of `session`, counted from 1."""
        if self.name == "ping":
            return self._ping_steps()
        steps: list[Step] = [self._write(session, number)]
        if self.options.increments is not Increments.NONE and INCREMENT in self.tools:
            steps.append(self._increment(session, number))
        return [*steps, self.last_read()]

    def last_read(self) -> Step:
        """What a session asks once more at its end."""
        if self.name == "ping":
            return self._ping_steps()[-1]
        own = self.options.read_tool
        return Read(own or READ, {}, is_by_text=bool(own) and own != READ)

    def slow_step(self) -> CallTool | None:
        """The call that a slow session keeps in flight; None without such a tool."""
        return self.slow_call(self.options.slow_s) if SLOW in self.tools else None

    def slow_call(self, seconds: float, steps: int = 0) -> CallTool:
        """A call of that length, in so many steps where the tool lets one choose. Only where there is the tool."""
        numbers = _of_type(self.tools[SLOW], "number", "integer")
        names = ["seconds"] if "seconds" in self.tools[SLOW] else numbers
        arguments: dict[str, Any] = {names[0]: _number(seconds)} if names else {}
        return CallTool(SLOW, arguments | ({"steps": steps} if steps and "steps" in self.tools[SLOW] else {}))

    def _ping_steps(self) -> Sequence[Step]:
        if self.options.tool:
            return [ListTools(), CallTool(self.options.tool, self.options.arguments)]
        return [ListTools(), CallTool(PING, {})] if PING in self.tools else [ListTools()]

    def _write(self, session: str, number: int) -> Write:
        key, value = f"{KEY_PREFIX}{number}", f"call_{number}/{session}"
        tool = self.options.write_tool or WRITE
        names = ["key", "value"]
        if not set(names) <= set(self.tools[tool]):
            names = _of_type(self.tools[tool], "string")[:2]
        texts = (key, value) if len(names) == 2 else (value,)
        return Write(tool, dict(zip(names, texts, strict=False)), key, value)

    def _increment(self, session: str, number: int) -> Increment:
        key = f"{session}-{number}"
        keyed = self.options.increments is Increments.KEYED and "idempotency_key" in self.tools[INCREMENT]
        return Increment(INCREMENT, {"idempotency_key": key} if keyed else {}, key, keyed)


def choose_plan(options: ProbeOptions, listed: Sequence[Mapping[str, Any]]) -> Plan:
    """Raises UsageError if the tool that the user named, or that mints handles, is not there, naming those that are."""
    tools = {str(tool.get("name")): _properties(tool) for tool in listed}
    for name in filter(None, (options.tool, options.write_tool, options.read_tool)):
        if name not in tools:
            raise UsageError(f"the server has no tool {name!r}", hint=f"it has: {', '.join(sorted(tools)) or 'none'}")
    if options.write_tool and not _of_type(tools[options.write_tool], "string"):
        raise UsageError(
            f"the tool {options.write_tool!r} takes no text, so nothing can be written with it",
            hint="name one with a string argument, or two: a key and a value",
        )
    if options.session_ids is SessionIds.HANDLE and CREATE not in tools:
        raise UsageError(
            f"session handles need a tool {CREATE}, and the server has none",
            hint=f"another --session-ids; it has: {', '.join(sorted(tools)) or 'no tools'}",
        )
    if PING in tools and _requires_arguments(listed, PING):
        del tools[PING]
    needed = [options.write_tool or WRITE, options.read_tool or READ]
    is_sample = not options.tool and set(needed) <= tools.keys()
    wanted = [] if options.tool else needed
    if options.increments is not Increments.NONE:
        wanted.append(INCREMENT)
    if options.slow_every:
        wanted.append(SLOW)
    wanted += [TOOL_OF[activity] for activity in options.activities if activity in TOOL_OF]
    missing = [name for name in dict.fromkeys(wanted) if name not in tools]
    if options.increments is Increments.KEYED and "idempotency_key" not in tools.get(INCREMENT, {"idempotency_key": 0}):
        missing.append(f"{INCREMENT}(idempotency_key)")
    return Plan("sample" if is_sample else "ping", options, tools, tuple(missing))


def _properties(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = tool.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return properties if isinstance(properties, Mapping) else {}


def _requires_arguments(listed: Sequence[Mapping[str, Any]], name: str) -> bool:
    schemas = [tool.get("inputSchema") for tool in listed if tool.get("name") == name]
    return any(isinstance(schema, Mapping) and bool(schema.get("required")) for schema in schemas)


def _of_type(properties: Mapping[str, Any], *types: str) -> list[str]:
    return [name for name, schema in properties.items() if isinstance(schema, Mapping) and schema.get("type") in types]


def _number(seconds: float) -> int | float:
    """Whole seconds as an integer: the tool may take nothing else."""
    return int(seconds) if seconds == int(seconds) else seconds
