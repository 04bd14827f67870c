"""What a run shows while it goes on: the service events as they come, and on a terminal a line of progress.

Everything goes to standard error, so that a report or JSON on standard output stays clean.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from rollproof.history import Record

SHOWN_ID = 8
SILENCE_S = 15.0
"""Without a terminal, a line of progress is printed when nothing else was said for so long."""
_BEATS = {
    "warmed-up": "every session has written and read once",
    "deployment-triggered": "deployment triggered",
    "redis-back": "Redis answers again",
    "not-warmed-up": "no session has written and read once: disrupted all the same",
    "steady": "steady again",
    "probe-ended": "every session has read its state once more",
}


class Live:
    """Use as a context; `listen` takes history records, `say` what is not in the history."""

    def __init__(self, console: Console, speed: float, quiet: bool = False) -> None:
        self._console, self._speed, self._quiet = console, speed, quiet
        self._status = Status("setting the stage ...", console=console)
        self._phase = "setting the stage"
        self._calls, self._failed = 0, 0
        self._is_alive: dict[str, bool] = {}  # session -> whether its last call was answered as it should be
        self._said_at = 0.0

    def __enter__(self) -> Live:
        if self._console.is_terminal and not self._quiet:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def say(self, phase: str) -> None:
        """What goes on before there is a history."""
        if self._quiet or phase == self._phase:
            return
        self._phase = phase
        if self._console.is_terminal:
            self._status.update(f"{phase} ...")
        else:
            self._console.print(f"           -- {escape(phase)}", soft_wrap=True)

    def listen(self, record: Record) -> None:
        if self._quiet:
            return
        match record["kind"]:
            case "service_event":
                self._say(record, short(str(record["message"])))
            case "mark" if record["name"] in ("fault-ended", "fault-not-played"):
                self._say(record, f"-- {record['name'].replace('-', ' ')}: {short(str(record['detail']))}")
            case "mark":
                self._phase = _BEATS.get(str(record["name"]), str(record["name"]))
                self._say(record, f"-- {self._phase}")
            case "fault":
                self._say(record, f"-- fault: {record['name']} {str(record.get('target', ''))[:SHOWN_ID]}")
            case "call" if "activity" not in record:  # those say nothing of whether a session is alive
                self._count(record)
            case "setting" if record["name"] in ("balancer", "redis", "endpoint"):
                self._say(record, f"-- {record['name']}: {record['value']}")
            case "task":
                pass
            case _:
                return
        line = self._line(record["t"])
        if self._console.is_terminal:
            self._status.update(line)
        elif record["t"] >= self._said_at + SILENCE_S:
            self._say(record, f"-- {line}")

    def _say(self, record: Record, text: str) -> None:
        self._said_at = record["t"]
        self._console.print(f"{record['t']:7.1f} s  {escape(text)}", soft_wrap=True)

    def _count(self, call: Record) -> None:
        self._calls += 1
        self._is_alive[str(call["session"])] = bool(call["ok"])
        if call["ok"]:
            return
        self._failed += 1
        if self._failed == 1:
            self._say(call, f"-- first failed call: {call['session']} {call['tool']} {call.get('signature')}")

    def _line(self, t: float) -> str:
        if not self._calls:
            return "waiting for a steady service"
        alive = sum(self._is_alive.values())
        return (
            f"{t * self._speed:.0f} AWS s, {self._phase}; {self._calls} calls, "
            f"{self._failed} failed, {alive} of {len(self._is_alive)} sessions alive"
        )


def short(message: str) -> str:
    """A service event without the service's name and ARNs, ids cut: for a screen; the history has it whole."""
    words = []
    for word in message.split(" "):
        if word.startswith("arn:"):
            word = word.split("/")[-2] + ")" if word.endswith(")") else word.split("/")[-2]  # noqa: PLW2901
        bare = word.rstrip(").")
        words.append(bare[:SHOWN_ID] + word[len(bare) :] if len(bare) == 32 and bare.isalnum() else word)
    return " ".join(words)
