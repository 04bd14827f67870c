"""What an activity's answer means: every outcome, from the answer that decides it."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.probe.activity import (
    Asked,
    Attempt,
    judge_asked,
    judge_deleted,
    judge_notice,
    judge_progress,
    judge_resumed,
)
from rollproof.probe.answer import CONNECT_ERROR, STREAM_ENDED, TIMEOUT, Answer, RpcError
from rollproof.probe.options import Activity
from rollproof.probe.replies import answer_to

MARK, QUESTION = "s1/1", "What is s1/1?"
GONE = RpcError(-32600, "Session not found")


def answered(status: int | None = 200, payload: dict[str, Any] | None = None, **fields: Any) -> Answer:
    if payload is not None:
        fields["result"] = {"structuredContent": payload, "content": []}
    return Answer(1.0, 2.0, http_status=status, **fields)


def tool_error(text: str) -> Answer:
    return answered(result={"isError": True, "content": [{"type": "text", "text": text}]})


def shown(attempt: Attempt) -> tuple[str, str]:
    return str(attempt.outcome), attempt.signature or attempt.answer.signature


@pytest.mark.parametrize(
    ("activity", "payload", "outcome"),
    [
        (Activity.ELICITATION, {"answer": answer_to(QUESTION), "token": MARK}, "ok"),
        (Activity.ELICITATION, {"answer": answer_to("What is s2/1?"), "token": MARK}, "misdelivered"),
        (Activity.ELICITATION, {"answer": answer_to(QUESTION), "token": "s2/1"}, "misdelivered"),
        (Activity.ELICITATION, {"token": MARK}, "failed"),
        (Activity.SAMPLING, {"text": answer_to(QUESTION)}, "ok"),
        (Activity.SAMPLING, {"text": answer_to("What is s2/1?")}, "misdelivered"),
        (Activity.ROOTS, {"uris": [f"file:///{MARK}"]}, "ok"),
        (Activity.ROOTS, {"uris": ["file:///s2/1"]}, "misdelivered"),
    ],
)
def test_the_result_must_carry_this_clients_answer_to_this_question(
    activity: Activity, payload: dict[str, Any], outcome: str
) -> None:
    attempt = judge_asked(activity, "confirm", Asked(answered(payload=payload)), QUESTION, MARK)
    assert attempt.outcome == outcome
    assert bool(attempt.error) is (outcome != "ok")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked(answered(404, rpc_error=GONE), is_refused=True), ("reply-refused", "404/-32600 Session not found")),
        (Asked(answered(404, rpc_error=GONE)), ("failed", "404/-32600 Session not found")),
        (Asked(answered(None, fault=TIMEOUT)), ("hang", "timeout")),
        (Asked(answered(fault=STREAM_ENDED)), ("failed", STREAM_ENDED)),
    ],
)
def test_a_question_without_an_answer(asked: Asked, expected: tuple[str, str]) -> None:
    assert shown(judge_asked(Activity.ELICITATION, "confirm", asked, QUESTION, MARK)) == expected


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Cannot send 'x': this transport context has no back-channel for server-initiated requests.", "unsupported"),
        ("elicitation via server-initiated requests is unavailable on 2026-07-28 connections.", "unsupported"),
        ("unknown session: none of that handle", "failed"),
    ],
)
def test_what_a_transport_cannot_do_is_no_failure(text: str, outcome: str) -> None:
    attempt = judge_asked(Activity.SAMPLING, "sample", Asked(tool_error(text)), QUESTION, MARK)
    assert attempt.outcome == outcome


@pytest.mark.parametrize(
    ("progress", "steps", "is_stream", "outcome"),
    [
        (4, 4, True, "ok"),
        (1, 0, True, "ok"),
        (3, 4, True, "missing"),
        (0, 0, True, "missing"),
        (5, 4, True, "doubled"),
        (0, 4, False, "unsupported"),
    ],
)
def test_every_step_brings_one_notification(progress: int, steps: int, is_stream: bool, outcome: str) -> None:
    answer = answered(payload={}, progress=progress, is_stream=is_stream)
    assert judge_progress("slow", answer, steps).outcome == outcome


@pytest.mark.parametrize(
    ("count", "is_late", "expected"),
    [
        (1, False, ("ok", "ok")),
        (0, True, ("missing", "missing")),
        (1, True, ("late", "late")),
        (2, False, ("doubled", "doubled")),
        (2, True, ("doubled", "doubled")),
    ],
)
def test_an_announcement_comes_once_and_soon(count: int, is_late: bool, expected: tuple[str, str]) -> None:
    attempt = judge_notice("announce", answered(payload={}), count, is_late=is_late, within_s=5.0)
    assert shown(attempt) == expected


BROKEN = {"fault": STREAM_ENDED, "was_broken": True}


@pytest.mark.parametrize(
    ("answer", "was_broken", "expected"),
    [
        (answered(payload={}, resumed=1), True, ("ok", "ok")),
        (answered(payload={}, resumed=1, repeats=1), True, ("doubled", "doubled")),
        (answered(**BROKEN, resume_failure=STREAM_ENDED), True, ("missing", STREAM_ENDED)),
        (answered(**BROKEN, resume_failure=TIMEOUT), True, ("hang", TIMEOUT)),
        (
            answered(**BROKEN, resume_failure="404/-32600 Session not found"),
            True,
            ("failed", "404/-32600 Session not found"),
        ),
        (answered(payload={}), False, ("unsupported", "unsupported")),
        (answered(404, rpc_error=GONE), False, ("failed", "404/-32600 Session not found")),
    ],
)
def test_a_broken_answer_is_taken_up_once(answer: Answer, was_broken: bool, expected: tuple[str, str]) -> None:
    assert shown(judge_resumed("slow", answer, was_broken=was_broken)) == expected


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (answered(404, rpc_error=GONE), ("ok", "ok")),
        (answered(payload={"state": {}}), ("still-served", "still-served")),
        (tool_error("unknown session"), ("still-served", "still-served")),
        (answered(400, rpc_error=GONE), ("still-served", "still-served")),
        (answered(502), ("failed", "502")),
        (answered(None, fault=CONNECT_ERROR), ("failed", CONNECT_ERROR)),
    ],
)
def test_a_deleted_session_is_answered_with_404(after: Answer, expected: tuple[str, str]) -> None:
    deleted = answered(expects_answer=False)
    assert shown(judge_deleted("get_session_state", deleted, after)) == expected
