"""Handles: sessions that are an argument, for a protocol that has none. Two tasks share one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from fastmcp import Client
from mcp_types import TextContent

from rollproof.orchestrator.redis_server import RedisServer
from server.app import create_server
from server.session_store import create_session_store
from server.settings import Settings


async def call(client: Client[Any], tool: str, **arguments: Any) -> dict[str, Any]:
    content = (await client.call_tool(tool, arguments)).structured_content
    assert content is not None
    return content


async def refusal(client: Client[Any], tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments, raise_on_error=False)
    assert answer.is_error
    (content,) = answer.content
    assert isinstance(content, TextContent)
    return content.text


async def client_of(stack: AsyncExitStack, settings: Settings, task_id: str, mode: Any = "auto") -> Client[Any]:
    server = create_server(settings, create_session_store(settings), task_id)
    return await stack.enter_async_context(Client(server, mode=mode))


@pytest.fixture
async def two_tasks(redis_server: RedisServer) -> AsyncIterator[tuple[Client[Any], Client[Any]]]:
    settings = Settings(redis_url=redis_server.url, app_version="v7")
    async with AsyncExitStack() as stack:
        yield await client_of(stack, settings, "task-a"), await client_of(stack, settings, "task-b")


async def test_any_task_serves_the_session_of_a_handle(two_tasks: tuple[Client[Any], Client[Any]]) -> None:
    one, other = two_tasks
    created = await call(one, "create_session")
    assert (created["task_id"], created["version"]) == ("task-a", "v7")
    handle = created["session"]
    assert (await call(other, "get_session_state", session=handle))["state"] == {}
    await call(one, "set_session_value", key="a", value="b", session=handle)
    assert [(await call(task, "increment", session=handle))["value"] for task in (one, other)] == [1, 2]
    read = await call(other, "get_session_state", session=handle)
    assert (read["task_id"], read["session_id"]) == ("task-b", handle)
    assert (read["state"], read["state_size"]) == ({"a": "b", "counter": 2}, 2)


async def test_increments_of_one_handle_at_two_tasks_all_count(two_tasks: tuple[Client[Any], Client[Any]]) -> None:
    handle = (await call(two_tasks[0], "create_session"))["session"]
    counted = await asyncio.gather(*(call(two_tasks[n % 2], "increment", session=handle) for n in range(40)))
    assert sorted(each["value"] for each in counted) == list(range(1, 41))


async def test_a_key_counts_once_whichever_task_it_reaches(two_tasks: tuple[Client[Any], Client[Any]]) -> None:
    one, other = two_tasks
    handle = (await call(one, "create_session"))["session"]
    first = await call(one, "increment", session=handle, idempotency_key="k")
    again = await call(other, "increment", session=handle, idempotency_key="k")
    assert [(each["value"], each["replayed"]) for each in (first, again)] == [(1, False), (1, True)]


async def test_an_ended_session_is_unknown_at_every_task(two_tasks: tuple[Client[Any], Client[Any]]) -> None:
    one, other = two_tasks
    handle = (await call(one, "create_session"))["session"]
    await call(one, "increment", session=handle)
    assert (await call(other, "end_session", session=handle))["session"] == handle
    for tool, arguments in (
        ("get_session_state", {}),
        ("increment", {}),
        ("set_session_value", {"key": "a", "value": 1}),
        ("end_session", {}),
    ):
        told = await refusal(one, tool, session=handle, **arguments)
        assert told.startswith("unknown session: this server's session store (redis) has none of that handle")
        assert handle not in told


async def test_handles_cannot_be_guessed_or_made_up(two_tasks: tuple[Client[Any], Client[Any]]) -> None:
    one, _ = two_tasks
    handles = {(await call(one, "create_session"))["session"] for _ in range(20)}
    assert len(handles) == 20
    assert all(len(handle) >= 43 for handle in handles)  # 32 bytes in base64
    for made_up in ("x", "x" * 43, next(iter(handles))[:-1]):
        assert (await refusal(one, "increment", session=made_up)).startswith("unknown session")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_handle_wins_over_the_calls_own_session(mode: Any) -> None:
    async with AsyncExitStack() as stack:
        client = await client_of(stack, Settings(), "task-a", mode)
        handle = (await call(client, "create_session"))["session"]
        assert (await call(client, "increment", by=10, session=handle))["state"] == {"counter": 10}
        if mode == "legacy":
            own = await call(client, "increment")
            assert (own["value"], own["session_id"] == handle) == (1, False)
            # A session of its own is no handle, though its id is known.
            assert (await refusal(client, "increment", session=own["session_id"])).startswith("unknown session")


async def test_where_no_session_id_is_required_each_call_is_a_session_of_its_own() -> None:
    async with AsyncExitStack() as stack:
        client = await client_of(stack, replace(Settings(), require_session_id=False), "task-a")
        counted = [await call(client, "increment") for _ in range(3)]
        assert [each["value"] for each in counted] == [1, 1, 1]
        assert len({each["session_id"] for each in counted}) == 3
        assert (await refusal(client, "get_session_state")).startswith("unknown session")
