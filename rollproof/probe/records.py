"""A session's lines in the history: answers in, `call`, `cookie` and `session` records out, and the live counters.

No value of a cookie and no session id is written, only whose it was and a digest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rollproof.history import Recorder
from rollproof.probe.activity import ActivityOutcome, Attempt
from rollproof.probe.answer import Answer, RpcError
from rollproof.probe.options import Activity


@dataclass
class Progress:
    """Live counters of a probe. A session is alive if its last call was answered as it should be."""

    sessions: int = 0
    opened: int = 0
    warmed_up: int = 0
    tried: int = 0  # have done an operation, well or not
    alive: int = 0
    calls: int = 0
    failures: int = 0
    signatures: Counter[str] = field(default_factory=Counter)
    last_failure: str = ""
    activities: Counter[str] = field(default_factory=Counter)  # by outcome


class SessionLog:
    """Writes one session's records and remembers which task answered it last."""

    def __init__(self, session: str, era: str, recorder: Recorder, progress: Progress) -> None:
        self._session = session
        self._era = era
        self._recorder = recorder
        self._progress = progress
        self._task_id: str | None = None
        self._is_alive = False
        self._is_new_session = False

    def call(
        self,
        answer: Answer,
        tool: str,
        call_number: int,
        *,
        signature: str = "",
        error: str = "",
        **extra: Any,
    ) -> None:
        """`signature` and `error` override the answer's own: what the client made of a well-formed answer."""
        signature = signature or answer.signature
        ok = signature == "ok"
        task_id = answer.task_id
        state = answer.payload.get("state")
        self._recorder.record(
            "call",
            session=self._session,
            call_number=call_number,
            tool=tool,
            **_given(http_status=answer.http_status, rpc_error=_rpc_error(answer.rpc_error), task_id=task_id),
            latency_s=round(answer.finished_t - answer.started_t, 6),
            **_given(state_size=len(state) if isinstance(state, dict) else answer.payload.get("state_size")),
            ok=ok,
            **({} if ok else {"error": error or answer.error}),
            signature=signature,
            started_t=round(answer.started_t, 6),
            era=self._era,
            **_given(
                new_session=self._is_new_session,
                progress=answer.progress or None,
                resumed=answer.resumed or None,
                **extra,
            ),
        )
        self._is_new_session = False
        self._cookies(answer, task_id)
        self._task_id = task_id or self._task_id
        self._count(signature, ok, error or answer.error)

    def activity(self, activity: Activity, call_number: int, attempt: Attempt, *, is_side_session: bool) -> None:
        """Beside the session's calls, and without a word on whether it is alive. `is_side_session`: the answer is
        not this session's, its cookies and its task are another's."""
        answer = attempt.answer
        signature = attempt.signature or answer.signature
        is_ok = attempt.outcome is ActivityOutcome.OK
        self._recorder.record(
            "call",
            session=self._session,
            call_number=call_number,
            tool=attempt.tool,
            **_given(http_status=answer.http_status, rpc_error=_rpc_error(answer.rpc_error), task_id=answer.task_id),
            latency_s=round(answer.finished_t - answer.started_t, 6),
            ok=is_ok,
            **({} if is_ok else {"error": attempt.error or answer.error or signature}),
            signature=signature,
            started_t=round(answer.started_t, 6),
            era=self._era,
            activity=activity.value,
            activity_outcome=attempt.outcome.value,
            **_given(progress=answer.progress or None, resumed=answer.resumed or None),
        )
        self._progress.activities[attempt.outcome.value] += 1
        if not is_side_session:
            self._cookies(answer, answer.task_id)
            self._task_id = answer.task_id or self._task_id

    def _cookies(self, answer: Answer, task_id: str | None) -> None:
        for change in answer.cookie_changes:
            self._recorder.record(
                "cookie",
                session=self._session,
                event="session_cookie_changed",
                cookie_name=change.name,
                old_digest=change.old_digest,
                new_digest=change.new_digest,
                followed=change.followed,
                **_given(task_id=task_id, previous_task_id=self._task_id),
            )

    def _count(self, signature: str, ok: bool, error: str) -> None:
        progress = self._progress
        progress.calls += 1
        progress.signatures[signature] += 1
        if not ok:
            progress.failures += 1
            progress.last_failure = f"{signature}: {error}" if error and error not in signature else signature
        progress.alive += ok - self._is_alive
        self._is_alive = ok

    def opened(self, session_id: str, by: str) -> None:
        self._progress.opened += 1
        self._session_event("opened", **_identity(session_id, by))

    def reinitialised(self, session_id: str, by: str, reason: str) -> None:
        """The next call carries `new_session`."""
        self._is_new_session = True
        self._session_event("reinitialised", reason=reason, **_identity(session_id, by))

    def closed(self, reason: str, delete: Answer | None) -> None:
        """`delete` is the answer to the request that ended the session, if one was sent."""
        status = delete.http_status if delete else None
        signature = delete.signature if delete else None
        self._session_event("closed", reason=reason, delete_status=status, delete_signature=signature)

    def stream(self, event: str, **fields: Any) -> None:
        """`event`: stream_opened, stream_ended or stream_refused (the server offers none)."""
        self._session_event(event, **fields)

    def _session_event(self, event: str, **fields: Any) -> None:
        self._recorder.record("session", session=self._session, event=event, **_given(task_id=self._task_id, **fields))


def _given(**fields: Any) -> dict[str, Any]:
    """Only what is known: no field of a record is null, false or empty text."""
    return {name: value for name, value in fields.items() if value is not None and value is not False and value != ""}


def _identity(session_id: str, by: str) -> dict[str, Any]:
    if not session_id:
        return {}
    # The digest that the sample server logs: its lines and these can be matched, and neither holds the id.
    digest = hashlib.blake2b(session_id.encode(), digest_size=6).hexdigest()
    return {"mcp_session_id_by": by, "mcp_session_id_digest": digest}


def _rpc_error(error: RpcError | None) -> dict[str, Any] | None:
    return {"code": error.code, "message": error.message[:500]} if error else None
