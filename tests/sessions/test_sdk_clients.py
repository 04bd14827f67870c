"""Clients as their SDKs make them, unmodified, behind a strict round robin over two replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import fastmcp
import mcp
import mcp_types
import pytest
import pytest_asyncio
from fastmcp.client.elicitation import ElicitResult
from pair import Pair, serving
from starlette.types import Receive, Scope, Send

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODES = ["legacy", "auto"]  # auto: these clients take 2026-07-28 where the server has it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(shared_pair: Pair) -> AsyncIterator[str]:
    """Each request reaches the other replica than the one before."""
    number = 0

    async def alternate(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal number
        number += 1
        await (shared_pair.a, shared_pair.b)[number % 2].app(scope, receive, send)

    async with serving(alternate) as (base, _server, _running):
        yield f"{base}/mcp"


def text_of(result: Any) -> str:
    return str(result.content[0].text)


@pytest.mark.parametrize("mode", MODES)
async def test_the_python_sdks_client(url: str, mode: Any) -> None:
    async def answer(_context: Any, _params: Any) -> mcp_types.ElicitResult:
        return mcp_types.ElicitResult(action="accept", content={"value": "this"})

    async with mcp.Client(url, mode=mode, elicitation_callback=answer) as client:
        served = {text_of(await client.call_tool("announce", {"text": "x"})) for _ in range(6)}
        assert served == {"a", "b"}
        asked = "ask" if mode == "legacy" else "choose"
        arguments = {"question": "Which?"} if mode == "legacy" else {}
        for _ in range(2):
            assert text_of(await client.call_tool(asked, arguments)).endswith(": this")


async def test_fastmcps_client_keeps_its_session(url: str) -> None:
    told: list[float] = []

    async def answer(*_: Any) -> ElicitResult[dict[str, str]]:
        return ElicitResult(action="accept", content={"value": "this"})

    async def progress(done: float, *_: Any) -> None:
        told.append(done)

    async with fastmcp.Client(url, mode="legacy", elicitation_handler=answer, progress_handler=progress) as client:
        for number in range(4):
            await client.call_tool("remember", {"key": f"k{number}", "value": str(number)})
        recalled = [text_of(await client.call_tool("recall", {"key": f"k{number}"})) for number in range(4)]
        assert recalled == ["0", "1", "2", "3"]
        assert text_of(await client.call_tool("ask", {"question": "Which?"})).endswith(": this")
        assert text_of(await client.call_tool("slow", {"seconds": 0.2})).endswith("is done")
    assert told == [1, 2, 3, 4]


@pytest.mark.e2e
async def test_many_clients_of_both_eras_at_once(url: str) -> None:
    async def talk(number: int) -> None:
        async with fastmcp.Client(url, mode=MODES[number % 2]) as client:  # type: ignore[arg-type]
            for _ in range(2):
                assert text_of(await client.call_tool("announce", {"text": "x"})) in "ab"

    await asyncio.gather(*map(talk, range(60)))
