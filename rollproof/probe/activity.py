"""What became of one activity: its outcome, told from what the client itself gave and got. Pure.

    ok              it did what it is for
    unsupported     the server says that it does not offer it; no fault of a rollout
    reply-refused   the server asked, and refused the answer: it arrived where nobody waits for it
    hang            no answer in time
    misdelivered    somebody else's answer
    missing, late, doubled   a notification or a result that has to come exactly once, and soon
    still-served    a session that was deleted is answered all the same
    failed          any other way; the signature says which

An activity that was ok once works with this server; what it is later is news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rollproof.probe.answer import STREAM_ENDED, TIMEOUT, Answer, text_of
from rollproof.probe.options import Activity
from rollproof.probe.replies import answer_to


class ActivityOutcome(StrEnum):
    OK = "ok"
    UNSUPPORTED = "unsupported"
    REPLY_REFUSED = "reply-refused"
    HANG = "hang"
    MISDELIVERED = "misdelivered"
    MISSING = "missing"
    LATE = "late"
    DOUBLED = "doubled"
    STILL_SERVED = "still-served"
    FAILED = "failed"


NOT_OFFERED = (
    "back-channel",  # mcp: "this transport context has no back-channel for server-initiated requests"
    "is unavailable on 2026",  # fastmcp: "elicitation via server-initiated requests is unavailable on ..."
    "no way for a request to the client",  # the sample server
    "no stream of its own",
)
"""How a tool says that its transport cannot do it."""


@dataclass(frozen=True)
class Attempt:
    """One activity, done. `answer` is the one that decided; `signature` and `error` override its own."""

    tool: str
    answer: Answer
    outcome: ActivityOutcome
    signature: str = ""
    error: str = ""


@dataclass(frozen=True)
class Asked:
    """What a call that makes the server ask came to. `is_refused`: `answer` is that to the client's own answer."""

    answer: Answer
    is_refused: bool = False


def told(tool: str, answer: Answer, outcome: ActivityOutcome, error: str = "") -> Attempt:
    """An outcome that the answer's own signature does not show gets its own."""
    is_shown = outcome is ActivityOutcome.OK or not answer.ok
    return Attempt(tool, answer, outcome, "" if is_shown else str(outcome), error)


def failed(tool: str, answer: Answer) -> Attempt:
    """An answer that is not what a call should get."""
    if answer.fault == TIMEOUT:
        return Attempt(tool, answer, ActivityOutcome.HANG)
    if answer.result is not None and any(word in text_of(answer.result).lower() for word in NOT_OFFERED):
        return Attempt(tool, answer, ActivityOutcome.UNSUPPORTED)
    return Attempt(tool, answer, ActivityOutcome.FAILED)


def judge_asked(activity: Activity, tool: str, asked: Asked, question: str, mark: str) -> Attempt:
    """The result has to carry what this client answered to this very question."""
    answer = asked.answer
    if asked.is_refused:
        return told(tool, answer, ActivityOutcome.REPLY_REFUSED)
    if not answer.ok:
        return failed(tool, answer)
    payload = answer.payload
    given, own = _given_and_own(activity, payload, question, mark)
    if given is None:
        error = "the result says nothing of the client's answer"
        return Attempt(tool, answer, ActivityOutcome.FAILED, "tool-error: no answer in the result", error)
    if given == own and payload.get("token", mark) == mark:
        return Attempt(tool, answer, ActivityOutcome.OK)
    return told(tool, answer, ActivityOutcome.MISDELIVERED, f"the result carries {_shown(given)}, which is not ours")


def judge_progress(tool: str, answer: Answer, steps: int) -> Attempt:
    """`steps`: how many notifications the call makes; 0 where that is not known, and any will do."""
    if not answer.ok:
        return failed(tool, answer)
    if not answer.is_stream and not answer.progress:
        error = "the answer came as JSON, which has no place for progress"
        return told(tool, answer, ActivityOutcome.UNSUPPORTED, error)
    wanted = steps or 1
    if answer.progress < wanted:
        error = f"{answer.progress} of {wanted} progress notifications came"
        return told(tool, answer, ActivityOutcome.MISSING, error)
    if steps and answer.progress > steps:
        error = f"{answer.progress} progress notifications came for {steps} steps"
        return told(tool, answer, ActivityOutcome.DOUBLED, error)
    return Attempt(tool, answer, ActivityOutcome.OK)


def judge_notice(tool: str, answer: Answer, count: int, *, is_late: bool, within_s: float) -> Attempt:
    """An announcement on the session's own stream: `count` times, and `is_late` if not within `within_s`."""
    if count > 1:
        return told(tool, answer, ActivityOutcome.DOUBLED, f"the announcement came {count} times")
    if count == 0:
        return told(tool, answer, ActivityOutcome.MISSING, "the announcement did not come on the session's stream")
    if is_late:
        return told(tool, answer, ActivityOutcome.LATE, f"the announcement took more than {within_s:g} s")
    return Attempt(tool, answer, ActivityOutcome.OK)


def judge_resumed(tool: str, answer: Answer, *, was_broken: bool) -> Attempt:
    """`was_broken`: the server numbers its events, so the client hung up and asked for the rest."""
    if not was_broken:
        error = "no event before the answer has an id to take it up from"
        return told(tool, answer, ActivityOutcome.UNSUPPORTED, error) if answer.ok else failed(tool, answer)
    if answer.ok and answer.repeats:
        return told(tool, answer, ActivityOutcome.DOUBLED, f"the result came {answer.repeats + 1} times")
    if answer.ok or not answer.resume_failure:
        return Attempt(tool, answer, ActivityOutcome.OK) if answer.ok else failed(tool, answer)
    outcomes = {TIMEOUT: ActivityOutcome.HANG, STREAM_ENDED: ActivityOutcome.MISSING}
    outcome = outcomes.get(answer.resume_failure, ActivityOutcome.FAILED)
    return Attempt(tool, answer, outcome, answer.resume_failure, answer.detail)


def judge_deleted(tool: str, deleted: Answer, after: Answer) -> Attempt:
    """`after` answers the call that followed a DELETE which the server took. MCP 2025-11-25: it MUST be 404."""
    if after.http_status == 404:
        return Attempt("DELETE", deleted, ActivityOutcome.OK)
    if after.http_status is None or after.http_status >= 500:
        return failed(tool, after)
    error = f"after its DELETE the session was answered with {after.http_status}, not 404"
    return Attempt(tool, after, ActivityOutcome.STILL_SERVED, str(ActivityOutcome.STILL_SERVED), error)


def _given_and_own(activity: Activity, payload: Mapping[str, Any], question: str, mark: str) -> tuple[object, object]:
    """What the result carries, and what this client answered."""
    match activity:
        case Activity.ELICITATION:
            return payload.get("answer"), answer_to(question)
        case Activity.SAMPLING:
            return payload.get("text"), answer_to(question)
        case _:
            return payload.get("uris"), [root_of(mark)]


def root_of(mark: str) -> str:
    """The one root of a client while it is asked for them."""
    return f"file:///{mark}"


def _shown(given: object) -> str:
    return f"{str(given)[:120]!r}"
