"""What a client says when a server asks it: only what it declared, with the server's own id, and recognisably."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.probe.options import Activity
from rollproof.probe.replies import (
    answer_to,
    capabilities,
    input_responses,
    mentions,
    reply_to_server,
    served_methods,
)

ROOT = "file:///here"
ALL = served_methods(Activity)
FORM = {
    "message": "Which?",
    "requestedSchema": {"properties": {"answer": {"type": "string"}, "count": {"type": "integer"}}},
}
PROMPT = {"messages": [{"role": "user", "content": {"type": "text", "text": "Say"}}], "maxTokens": 9}
PARTS = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Say"}]}]}
SAMPLED = {
    "role": "assistant",
    "content": {"type": "text", "text": answer_to("Say")},
    "model": "rollproof-probe",
    "stopReason": "endTurn",
}


@pytest.mark.parametrize(
    ("message", "result"),
    [
        ({"id": 1, "method": "ping"}, {}),
        (
            {"id": "replica-a.1", "method": "elicitation/create", "params": FORM},
            {"action": "accept", "content": {"answer": answer_to("Which?")}},
        ),
        ({"id": 0, "method": "sampling/createMessage", "params": PROMPT}, SAMPLED),
        ({"id": 3, "method": "sampling/createMessage", "params": PARTS}, SAMPLED),
        ({"id": 4, "method": "roots/list"}, {"roots": [{"uri": ROOT, "name": "rollproof"}]}),
    ],
)
def test_a_servers_question_is_answered_under_its_own_id(message: dict[str, Any], result: dict[str, Any]) -> None:
    assert reply_to_server(message, ALL, ROOT) == {"jsonrpc": "2.0", "id": message["id"], "result": result}


@pytest.mark.parametrize("method", ["elicitation/create", "tasks/list"])
def test_what_was_not_declared_is_refused(method: str) -> None:
    error = {"code": -32601, "message": f"the probe does not serve {method}"}
    served = served_methods([Activity.SAMPLING])
    assert reply_to_server({"id": "r.1", "method": method}, served, ROOT) == {
        "jsonrpc": "2.0",
        "id": "r.1",
        "error": error,
    }


@pytest.mark.parametrize("message", [{"method": "notifications/message"}, {"id": 1, "result": {}}])
def test_what_asks_nothing_gets_no_reply(message: dict[str, Any]) -> None:
    assert reply_to_server(message, ALL, ROOT) is None


def test_only_what_is_served_is_declared() -> None:
    assert capabilities([]) == {}
    assert capabilities([Activity.ROOTS, Activity.PROGRESS]) == {"roots": {}}
    assert set(capabilities(Activity)) == {"elicitation", "sampling", "roots"}


def test_an_input_required_result_is_answered_key_by_key() -> None:
    requests = {"a": {"method": "elicitation/create", "params": FORM}, "b": {"method": "roots/list"}}
    responses = input_responses({"resultType": "input_required", "inputRequests": requests}, ROOT)
    assert responses == {
        "a": {"action": "accept", "content": {"answer": answer_to("Which?")}},
        "b": {"roots": [{"uri": ROOT, "name": "rollproof"}]},
    }
    assert input_responses({"resultType": "input_required", "requestState": "x"}, ROOT) == {}


@pytest.mark.parametrize(
    "result",
    [
        {"content": []},
        {"resultType": "input_required", "inputRequests": {"a": {"method": "tasks/list"}}},
        {"resultType": "input_required", "inputRequests": {"a": None}},
        {"resultType": "input_required", "inputRequests": ["a"]},
    ],
)
def test_a_result_that_cannot_be_met_gets_no_responses(result: dict[str, Any]) -> None:
    assert input_responses(result, ROOT) is None


def test_a_question_belongs_to_the_call_whose_words_it_repeats() -> None:
    question = {"method": "elicitation/create", "params": {"message": "Which? mark-1"}}
    assert mentions(question, "mark-1")
    assert not mentions(question, "mark-2")
    assert mentions({"method": "roots/list"}, "mark-2")
