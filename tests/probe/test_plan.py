"""Which plan a server gets, and what its steps ask."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.core.errors import UsageError
from rollproof.probe.options import Increments, ProbeOptions
from rollproof.probe.plan import CallTool, Increment, ListTools, Plan, Read, Step, Write, choose_plan

URL = "http://127.0.0.1:1/mcp"


def tool(name: str, /, *, required: bool = False, **types: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in types.items()}
    return {"name": name, "inputSchema": {"properties": properties, "required": list(types) if required else []}}


WRITE = tool("set_session_value", key="string", value="string")
READ = tool("get_session_state")
COUNT = tool("increment", name="string", idempotency_key="string")
SLOW = tool("slow", steps="integer", seconds="number")
SAMPLE = [WRITE, READ, COUNT, SLOW, tool("ping")]


def plan(*tools: dict[str, Any], **options: Any) -> Plan:
    return choose_plan(ProbeOptions(URL, **options), tools)


def test_the_sample_server_is_written_to_and_read() -> None:
    expected: list[Step] = [
        Write("set_session_value", {"key": "seq_3", "value": "call_3/s1"}, "seq_3", "call_3/s1"),
        Read("get_session_state", {}),
    ]
    assert plan(*SAMPLE).steps("s1", 3) == expected


@pytest.mark.parametrize(
    ("tools", "mode", "expected"),
    [
        (SAMPLE, Increments.KEYED, Increment("increment", {"idempotency_key": "s1-3"}, "s1-3", repeatable=True)),
        (SAMPLE, Increments.PLAIN, Increment("increment", {}, "s1-3", repeatable=False)),
        ([WRITE, READ, tool("increment")], Increments.KEYED, Increment("increment", {}, "s1-3", repeatable=False)),
    ],
)
def test_an_increment_stands_between_write_and_read(tools: list[Any], mode: Increments, expected: Increment) -> None:
    steps = plan(*tools, increments=mode).steps("s1", 3)
    assert steps[1] == expected
    assert isinstance(steps[2], Read)


@pytest.mark.parametrize(
    ("tools", "options", "steps", "missing"),
    [
        pytest.param([], {}, [ListTools()], ("set_session_value", "get_session_state"), id="no_tools"),
        pytest.param(
            [WRITE, tool("ping")],
            {},
            [ListTools(), CallTool("ping", {})],
            ("get_session_state",),
            id="half_the_sample",
        ),
        pytest.param(
            [READ, tool("ping", required=True, host="string")],
            {},
            [ListTools()],
            ("set_session_value",),
            id="ping_that_wants_arguments",
        ),
        pytest.param(
            [*SAMPLE, tool("weather")],
            {"tool": "weather", "arguments": {"city": "Pune"}},
            [ListTools(), CallTool("weather", {"city": "Pune"})],
            (),
            id="tool_of_the_users_choice",
        ),
    ],
)
def test_any_other_server_is_pinged(
    tools: list[Any], options: dict[str, Any], steps: list[Step], missing: tuple[str, ...]
) -> None:
    chosen = plan(*tools, **options)
    assert (chosen.name, chosen.steps("s1", 1), chosen.missing) == ("ping", steps, missing)
    assert chosen.last_read() == steps[-1]


@pytest.mark.parametrize(
    ("tools", "options", "missing"),
    [
        ([WRITE, READ], {"increments": Increments.PLAIN}, ("increment",)),
        ([WRITE, READ, tool("increment")], {"increments": Increments.KEYED}, ("increment(idempotency_key)",)),
        ([WRITE, READ], {"slow_every": 1}, ("slow",)),
        (SAMPLE, {"increments": Increments.KEYED, "slow_every": 1}, ()),
    ],
)
def test_what_was_asked_for_and_is_not_there_is_named(
    tools: list[Any], options: dict[str, Any], missing: tuple[str, ...]
) -> None:
    assert plan(*tools, **options).missing == missing


def test_write_arguments_follow_the_tools_own_names() -> None:
    odd = tool("set_session_value", n="integer", field="string", content="string")
    step = plan(odd, READ).steps("s1", 1)[0]
    assert step.arguments == {"field": "seq_1", "content": "call_1/s1"}


@pytest.mark.parametrize(
    ("slow", "arguments"),
    [
        (SLOW, {"seconds": 7}),
        (tool("slow", duration="number"), {"duration": 7}),
        (tool("slow"), {}),
        (tool("slow", seconds="string", n="integer"), {"seconds": 7}),
    ],
)
def test_the_slow_call_names_its_seconds(slow: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert plan(WRITE, READ, slow, slow_s=7.0).slow_step() == CallTool("slow", arguments)


def test_no_slow_tool_no_slow_call() -> None:
    assert plan(WRITE, READ).slow_step() is None


def test_an_unknown_tool_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no tool 'nope'") as caught:
        plan(READ, WRITE, tool="nope")
    assert caught.value.hint == "it has: get_session_state, set_session_value"


def test_malformed_schemas_are_survived() -> None:
    assert choose_plan(ProbeOptions(URL), [{"name": "ping", "inputSchema": 5}, {}]).name == "ping"
