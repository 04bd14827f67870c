"""Signatures, outcomes and payloads of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rollproof.probe import answer as a
from rollproof.probe.answer import Answer, Outcome, RpcError

TOOL_ERROR = {"isError": True, "content": [{"type": "text", "text": "no room\nleft"}]}
MESSAGE = "Session 5f0d0cb5a4f74ac0b1a2e1d6a8a9e0aa not found"


def answered(result: Mapping[str, Any] | None = None, **fields: Any) -> Answer:
    return Answer(started_t=1.0, finished_t=1.5, result=result, **{"http_status": 200, **fields})


@pytest.mark.parametrize(
    ("given", "signature", "outcome", "error"),
    [
        pytest.param(answered({"content": []}), "ok", Outcome.ACKNOWLEDGED, "", id="ok"),
        pytest.param(
            answered(http_status=404, rpc_error=RpcError(-32600, "Session not found")),
            "404/-32600 Session not found",
            Outcome.REFUSED,
            "Session not found",
            id="session_not_found",
        ),
        pytest.param(
            answered(http_status=404, rpc_error=RpcError(-32001, MESSAGE)),
            "404/-32001 Session * not found",
            Outcome.UNKNOWN,
            MESSAGE,
            id="ids_are_left_out_of_the_signature",
        ),
        pytest.param(answered(http_status=502), "502", Outcome.UNKNOWN, "502", id="bad_gateway"),
        pytest.param(answered(http_status=202), "answer-missing", Outcome.UNKNOWN, "answer-missing", id="empty"),
        pytest.param(
            answered(http_status=202, expects_answer=False), "ok", Outcome.ACKNOWLEDGED, "", id="notification"
        ),
        pytest.param(
            answered(TOOL_ERROR), "tool-error: no room left", Outcome.UNKNOWN, "no room\nleft", id="tool_error"
        ),
        pytest.param(
            answered({"resultType": "input_required"}),
            "tool-error: input_required",
            Outcome.UNKNOWN,
            "tool-error: input_required",
            id="asks_for_more",
        ),
        pytest.param(answered({"resultType": "complete"}), "ok", Outcome.ACKNOWLEDGED, "", id="modern_result"),
        pytest.param(
            answered(http_status=None, fault=a.CONNECT_ERROR, detail="refused"),
            "connect-error",
            Outcome.REFUSED,
            "refused",
            id="never_sent",
        ),
        pytest.param(
            answered(fault=a.STREAM_ENDED, detail="cut"),
            "stream-ended-without-response",
            Outcome.UNKNOWN,
            "cut",
            id="cut",
        ),
        pytest.param(answered(http_status=None, fault=a.TIMEOUT), "timeout", Outcome.UNKNOWN, "timeout", id="timeout"),
    ],
)
def test_an_answer_is_classified(given: Answer, signature: str, outcome: Outcome, error: str) -> None:
    assert (given.signature, given.outcome, given.error) == (signature, outcome, error)
    assert given.ok is (signature == "ok")


def text(value: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}]}


@pytest.mark.parametrize(
    ("result", "payload", "task_id"),
    [
        pytest.param(
            {"structuredContent": {"task_id": "t1", "x": 1}}, {"task_id": "t1", "x": 1}, "t1", id="structured"
        ),
        pytest.param({"structuredContent": {"result": {"taskId": "t1"}}}, {"taskId": "t1"}, "t1", id="wrapped"),
        pytest.param(
            {"structuredContent": {"result": '{"task_id": "t1"}'}}, {"task_id": "t1"}, "t1", id="wrapped_text"
        ),
        pytest.param({"structuredContent": {"result": 5}}, {}, None, id="wrapped_number"),
        pytest.param(
            text('{"task_id": "arn:aws:ecs:r:1:task/c/9f"}'), {"task_id": "arn:aws:ecs:r:1:task/c/9f"}, "9f", id="text"
        ),
        pytest.param(
            text("pong! taskId=task/stateful-mcp-on-ecs/690704 v=0.0.10 d=101"), {}, "690704", id="plain_words"
        ),
        pytest.param(text("{not json"), {}, None, id="broken_json"),
        pytest.param(text("[1]"), {}, None, id="no_object"),
        pytest.param({"content": "nonsense"}, {}, None, id="malformed_content"),
        pytest.param(None, {}, None, id="no_result"),
    ],
)
def test_the_payload_and_the_task_are_found(
    result: Mapping[str, Any] | None, payload: dict[str, Any], task_id: str | None
) -> None:
    answer = answered(result)
    assert (answer.payload, answer.task_id) == (payload, task_id)
