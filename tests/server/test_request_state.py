"""Multi-round-trip requests at two tasks: the question of one, and the answer at the other."""

from __future__ import annotations

import copy
from typing import Any

import httpx
import pytest
from fastmcp import Client
from server_in_process import modern, serving
from server_process import error_text, result
from server_tasks import replicas

from server.settings import Settings

SHARED = Settings(request_state_key=b"0123456789abcdef0123456789abcdef")
FORMS = {"elicitation": {"form": {}}}
ANSWER = {"answer": {"action": "accept", "content": {"answer": "yes"}}}


async def asked(client: httpx.AsyncClient, **arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The call that was made, and the result that asks for input."""
    call = modern("confirm", capabilities=FORMS, **arguments)
    return call, (await client.post("/mcp", **call)).json()["result"]


def answered(call: dict[str, Any], state: str, **changed: Any) -> dict[str, Any]:
    """The same call again, with an answer."""
    again = copy.deepcopy(call)
    again["json"]["id"] = 2
    again["json"]["params"] |= {"inputResponses": ANSWER, "requestState": state}
    again["json"]["params"]["arguments"] |= changed
    return again


async def test_the_question_says_what_is_asked_and_nothing_of_the_task() -> None:
    async with serving(SHARED, "task-a") as client:
        _, question = await asked(client, question="Sure?", token="t1")
    assert question["resultType"] == "input_required"
    (request,) = question["inputRequests"].values()
    assert (request["method"], request["params"]["message"]) == ("elicitation/create", "Sure?")
    assert list(request["params"]["requestedSchema"]["properties"]) == ["answer"]
    assert "task-a" not in question["requestState"]


async def test_with_a_shared_key_another_task_takes_the_answer() -> None:
    async with serving(SHARED, "task-a") as one, serving(SHARED, "task-b") as other:
        call, question = await asked(one, question="Sure?", token="t1")
        told = result(await other.post("/mcp", **answered(call, question["requestState"])))
    assert (told["asked_by"], told["task_id"]) == ("task-a", "task-b")
    assert (told["action"], told["answer"], told["token"]) == ("accept", "yes", "t1")


async def test_without_a_shared_key_another_task_refuses_it() -> None:
    async with serving(Settings(), "task-a") as one, serving(Settings(), "task-b") as other:
        call, question = await asked(one, question="Sure?")
        refused = await other.post("/mcp", **answered(call, question["requestState"]))
        assert result(await one.post("/mcp", **answered(call, question["requestState"])))["answer"] == "yes"
    assert refused.status_code == httpx.codes.BAD_REQUEST
    assert refused.json()["error"] == {
        "code": -32602,
        "message": "Invalid or expired requestState",
        "data": {"reason": "invalid_request_state"},
    }


@pytest.mark.parametrize("settings", [SHARED, Settings()], ids=["shared key", "own key"])
async def test_a_state_answers_nothing_but_the_call_that_it_was_made_for(settings: Settings) -> None:
    async with serving(settings) as client:
        call, question = await asked(client, question="Sure?", token="t1")
        for forged in (
            answered(call, question["requestState"], token="t2"),
            answered(call, question["requestState"][:-4] + "AAAA"),
            answered(call, "made up"),
        ):
            assert (await client.post("/mcp", **forged)).status_code == httpx.codes.BAD_REQUEST
        unasked = answered(call, "")
        del unasked["json"]["params"]["requestState"]
        assert (await client.post("/mcp", **unasked)).json()["result"]["resultType"] == "input_required"


async def test_an_answer_of_another_kind_is_refused() -> None:
    async with serving(SHARED) as client:
        call, question = await asked(client, question="Sure?")
        again = answered(call, question["requestState"])
        again["json"]["params"]["inputResponses"] = {"answer": {"roots": []}}
        assert "with something else" in error_text(await client.post("/mcp", **again))


async def test_a_real_clients_answer_crosses_tasks_unnoticed() -> None:
    async def yes(message: str, response_type: Any, params: Any, context: Any) -> Any:
        return response_type(answer="yes")

    async with (
        replicas(SHARED, "task-a", "task-b") as url,
        Client(url, elicitation_handler=yes) as client,
    ):
        told = (await client.call_tool("confirm", {"question": "Sure?"})).structured_content or {}
    assert told["answer"] == "yes"
    assert {told["asked_by"], told["task_id"]} == {"task-a", "task-b"}
