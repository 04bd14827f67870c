"""The tools that turn to the client, as real clients of both protocols answer them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from mcp_types import TextContent
from server_tasks import replicas

from server.settings import Settings

TASK_ID = "task-a"
STATEFUL = Settings(app_version="v7")
ERAS = ["legacy", "auto"]
DEADLINE_S = 20.0


@pytest.fixture
async def stateful() -> AsyncIterator[str]:
    async with replicas(STATEFUL, TASK_ID) as url:
        yield url


async def answer_with(message: str, response_type: Any, params: Any, context: Any) -> Any:
    return response_type(answer=f"{message} Yes.")


async def decline(message: str, response_type: Any, params: Any, context: Any) -> Any:
    return ElicitResult(action="decline")


def model(messages: list[Any], params: Any, context: Any) -> str:
    return f"{messages[-1].content.text} world"


async def refusal(client: Client[Any], tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments, raise_on_error=False)
    assert answer.is_error
    (content,) = answer.content
    assert isinstance(content, TextContent)
    return content.text


@pytest.mark.parametrize("mode", ERAS)
async def test_confirm_gives_the_users_answer_and_the_calls_token(mode: Any, stateful: str) -> None:
    async with Client(stateful, mode=mode, elicitation_handler=answer_with) as client:
        answers = await asyncio.gather(
            *(client.call_tool("confirm", {"question": f"{n}?", "token": f"t{n}"}) for n in range(5))
        )
    assert [answer.structured_content for answer in answers] == [
        {
            "task_id": TASK_ID,
            "version": "v7",
            "asked_by": TASK_ID,
            "action": "accept",
            "answer": f"{n}? Yes.",
            "token": f"t{n}",
        }
        for n in range(5)
    ]


@pytest.mark.parametrize("mode", ERAS)
async def test_confirm_tells_of_a_user_who_declines(mode: Any, stateful: str) -> None:
    async with Client(stateful, mode=mode, elicitation_handler=decline) as client:
        content = (await client.call_tool("confirm", {"question": "Sure?"})).structured_content
    assert content is not None
    assert (content["action"], content["answer"], content["token"]) == ("decline", "", "")


@pytest.mark.parametrize("mode", ERAS)
async def test_sample_gives_the_text_of_the_clients_model(mode: Any, stateful: str) -> None:
    async with Client(stateful, mode=mode, sampling_handler=model) as client:
        content = (await client.call_tool("sample", {"prompt": "Hello"})).structured_content
    assert content is not None
    assert (content["task_id"], content["version"], content["text"]) == (TASK_ID, "v7", "Hello world")


@pytest.mark.parametrize("mode", ERAS)
async def test_roots_gives_the_clients_roots(mode: Any, stateful: str) -> None:
    async with Client(stateful, mode=mode, roots=["file:///one", "file:///two"]) as client:
        content = (await client.call_tool("roots", {})).structured_content
    assert content is not None
    assert content["uris"] == ["file:///one", "file:///two"]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_without_the_capability_is_not_asked(mode: Any, stateful: str) -> None:
    async with Client(stateful, mode=mode) as client:
        for tool, arguments, capability in (
            ("confirm", {"question": "Sure?"}, "elicitation"),
            ("sample", {"prompt": "Hello"}, "sampling"),
            ("roots", {}, "roots"),
        ):
            assert f"did not declare the capability '{capability}'" in await refusal(client, tool, **arguments)


async def test_a_failing_client_is_a_tool_error(stateful: str) -> None:
    async def fail(*_: Any) -> Any:
        raise RuntimeError("no user here")

    async with Client(stateful, mode="legacy", elicitation_handler=fail) as client:
        assert "answered elicitation/create with an error" in await refusal(client, "confirm", question="Sure?")


@pytest.mark.parametrize(
    "settings",
    [replace(STATEFUL, stateless_http=True), replace(STATEFUL, json_response=True)],
    ids=["stateless", "json"],
)
async def test_without_a_way_to_the_client_the_tools_say_so(settings: Settings) -> None:
    async with (
        replicas(settings, TASK_ID) as url,
        Client(url, mode="legacy", elicitation_handler=answer_with, sampling_handler=model, roots=[]) as client,
    ):
        assert "cannot send elicitation/create" in await refusal(client, "confirm", question="Sure?")
        assert "cannot send sampling/createMessage" in await refusal(client, "sample", prompt="Hello")
        assert "cannot send roots/list" in await refusal(client, "roots")


async def test_announcements_arrive_on_the_sessions_own_stream(stateful: str) -> None:
    heard: list[Any] = []
    all_heard = asyncio.Event()

    async def note(message: Any) -> None:
        heard.append(message.data)
        if len(heard) == 3:
            all_heard.set()

    async with Client(stateful, mode="legacy", log_handler=note) as client:
        content = (await client.call_tool("announce", {"text": "news", "count": 3})).structured_content
        async with asyncio.timeout(DEADLINE_S):
            await all_heard.wait()
    assert content == {"task_id": TASK_ID, "version": "v7", "count": 3}
    assert [(each["text"], each["number"], each["task_id"]) for each in heard] == [
        ("news", number, TASK_ID) for number in (1, 2, 3)
    ]


async def test_without_a_stream_of_the_session_nothing_can_be_announced(stateful: str) -> None:
    async with Client(stateful) as client:
        assert "no stream of its own" in await refusal(client, "announce", text="news")
    async with (
        replicas(replace(STATEFUL, stateless_http=True), TASK_ID) as url,
        Client(url, mode="legacy") as client,
    ):
        assert "no stream of its own" in await refusal(client, "announce", text="news")
