"""The sample server with rollproof.sessions: any task serves any session, in both protocols."""

from __future__ import annotations

from typing import Any

import pytest
from fastmcp import Client
from server_tasks import replicas

from rollproof.orchestrator.redis_server import RedisServer
from server.settings import Settings

TASKS = ("task-a", "task-b")


async def yes(message: str, response_type: Any, params: Any, context: Any) -> Any:
    return response_type(answer="yes")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_answers_reach_the_tool_that_asked_whichever_task_gets_them(mode: Any, redis_server: RedisServer) -> None:
    settings = Settings(sessions="resilient", redis_url=redis_server.url)
    async with (
        replicas(settings, *TASKS) as url,
        Client(url, mode=mode, elicitation_handler=yes) as client,
    ):
        told = [
            (await client.call_tool("confirm", {"question": "Sure?", "token": f"t{n}"})).structured_content or {}
            for n in range(4)
        ]
    assert [(each["answer"], each["token"]) for each in told] == [("yes", f"t{n}") for n in range(4)]


async def test_a_legacy_session_counts_on_at_every_task(redis_server: RedisServer) -> None:
    settings = Settings(sessions="resilient", redis_url=redis_server.url)
    async with replicas(settings, *TASKS) as url, Client(url, mode="legacy") as client:
        counted = [(await client.call_tool("increment", {})).structured_content or {} for _ in range(6)]
    assert [each["value"] for each in counted] == [1, 2, 3, 4, 5, 6]
    assert {each["task_id"] for each in counted} == set(TASKS)
