"""What a replica knows of sessions, where messages cross."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mcp_types import ClientCapabilities, Implementation, InitializeRequestParams

from rollproof.sessions import Options
from rollproof.sessions.registry import Registry, Session

CLIENT = InitializeRequestParams(
    protocol_version="2025-11-25", capabilities=ClientCapabilities(), client_info=Implementation(name="c", version="1")
)


class SlowLink:
    """Redis as far as a registry asks it; `before_answer` comes between what it did and its answer."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.before_answer: Callable[[], Awaitable[None]] = _at_once
        self.asked = 0

    def key(self, *parts: str) -> str:
        return ":".join(parts)

    def write(self, *commands: Any) -> None:
        pass

    async def command(self, name: str, key: str, *arguments: Any) -> Any:
        self.asked += 1
        found = self.kept.get(key)
        if name == "SET":
            self.kept[key] = arguments[0]
        elif name == "DEL":
            self.kept.pop(key, None)
        await self.before_answer()
        return found


async def _at_once() -> None:
    pass


async def test_an_answer_that_was_on_its_way_does_not_bring_an_ended_session_back() -> None:
    link = SlowLink()
    here, elsewhere = (Registry(link, Options()) for _ in range(2))  # type: ignore[arg-type]
    await elsewhere.open(Session("s", None, CLIENT, "2025-11-25"))
    may_answer = asyncio.Event()

    async def wait() -> None:
        await may_answer.wait()

    link.before_answer = wait
    finding = asyncio.create_task(here.find("s"))
    await asyncio.sleep(0)
    link.before_answer = _at_once
    await elsewhere.end("s")
    here.note_ended("s")  # the bus is faster than the answer
    may_answer.set()
    assert await finding is None
    assert await here.find("s") is None


async def test_a_session_seen_lately_is_not_asked_for_again() -> None:
    link = SlowLink()
    registry = Registry(link, Options(cache_s=60))  # type: ignore[arg-type]
    await registry.open(Session("s", "owner", CLIENT, "2025-11-25"))
    asked = link.asked
    found = await registry.find("s")
    assert found is not None
    assert (found.owner, link.asked) == ("owner", asked)
    registry.forget()
    assert await registry.find("s") is not None
    assert link.asked == asked + 1


async def test_what_is_kept_of_sessions_is_bounded() -> None:
    link, forgotten = SlowLink(), list[str]()
    registry = Registry(link, Options(cached_sessions=3), forgotten.append)  # type: ignore[arg-type]
    for number in range(5):
        await registry.open(Session(str(number), None, CLIENT, "2025-11-25"))
        registry.note_ended(f"ended {number}")
    assert forgotten == ["0", "1"]
    assert len(registry._seen) == len(registry._ended) == 3
