"""Protocol 2026-07-28 beside the handshake era: no sessions, but one key for what goes between two rounds."""

from __future__ import annotations

from typing import Any

import pytest
from pair import ACCEPT, Answer, Pair, Replica, read

VERSION = "2026-07-28"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def pair(shared_pair: Pair) -> Pair:
    shared_pair.extra = {}
    return shared_pair


async def call(pair: Pair, at: Replica, tool: str, params: dict[str, Any] | None = None, **arguments: Any) -> Answer:
    envelope = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    }
    message = pair.request("tools/call", {"name": tool, "arguments": arguments, "_meta": envelope, **(params or {})})
    headers = {
        "accept": ACCEPT,
        "content-type": "application/json",
        "mcp-protocol-version": VERSION,
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }
    return read(await pair.http.post(f"{at.url}/mcp", json=message, headers=headers))


async def test_a_question_asked_at_one_replica_is_answered_at_the_other(pair: Pair) -> None:
    asked = (await call(pair, pair.a, "choose")).last["result"]
    assert asked["resultType"] == "input_required"
    answer = {"answer": {"action": "accept", "content": {"value": "that"}}}
    rest = {"inputResponses": answer, "requestState": asked["requestState"]}
    assert (await call(pair, pair.b, "choose", rest)).text == "asked by a, answered at b: that"


async def test_a_forged_request_state_is_refused_everywhere(pair: Pair) -> None:
    asked = (await call(pair, pair.a, "choose")).last["result"]
    state = asked["requestState"]
    answer = {"answer": {"action": "accept", "content": {"value": "that"}}}
    middle = len(state) // 2
    for forged in (state[:middle] + ("A" if state[middle] != "A" else "B") + state[middle + 1 :], "b", "x" * 5000):
        for at in (pair.a, pair.b):
            refused = await call(pair, at, "choose", {"inputResponses": answer, "requestState": forged})
            assert (refused.status, refused.error["code"]) == (400, -32602), forged[:20]


async def test_both_eras_are_served_at_once(pair: Pair) -> None:
    await pair.open(pair.a)
    assert (await call(pair, pair.b, "announce", text="x")).text == "b"
    assert (await pair.call(pair.b, "whoami")).status == 200
