"""The task scale-in protection endpoint: a request's body in, AWS's reply out. Pure.

Source: ECS-DG/task-scale-in-protection-endpoint, and AGENT's tmds/handlers/taskprotection/v1 for statuses,
messages, and what its decoder accepts (names in any case, no unknown field). The range check and its wording
stand in for the ECS API's own InvalidParameterException, whose text is not published [inferred].

Differs from AWS: DEPLOYMENT_BLOCKED is never answered, since only the control plane could know. At a speed
other than 1 a protection expires in rehearsal minutes, and ExpirationDate says when on this machine's clock.
Imports the standard library only: every task agent loads this module.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

DEFAULT_MINUTES = 120
MAX_MINUTES = 2_880

Json = dict[str, Any]


class Protection(NamedTuple):
    """What the task has asked for. `expires_at` is a UNIX time; None when not protected."""

    enabled: bool = False
    expires_in_minutes: int = DEFAULT_MINUTES
    expires_at: float | None = None

    def holds(self, now: float) -> bool:
        return self.enabled and self.expires_at is not None and now < self.expires_at


class Reply(NamedTuple):
    """An HTTP answer, and the protection to put in force if the request was granted."""

    status: int
    body: Json
    granted: Protection | None = None


def read(task_arn: str, service: str, protection: Protection, now: float) -> Reply:
    """GET."""
    if not service:
        return _not_valid(task_arn)
    return Reply(200, _shown(task_arn, protection, now))


def update(task_arn: str, service: str, body: bytes, now: float, speed: float = 1.0) -> Reply:
    """PUT. A standalone task cannot be protected: TASK_NOT_VALID, with status 200 as the agent answers it."""
    try:
        enabled, minutes = _decode(body)
    except (ValueError, TypeError, AttributeError):
        return _invalid("", "UpdateTaskProtection: failed to decode request")
    if enabled is None:
        return _invalid(task_arn, "Invalid request: does not contain 'ProtectionEnabled' field")
    if not enabled:
        granted = Protection()
    elif minutes is not None and not 1 <= minutes <= MAX_MINUTES:
        return _invalid(task_arn, f"expiresInMinutes must be between 1 and {MAX_MINUTES}, inclusive")
    else:
        minutes = DEFAULT_MINUTES if minutes is None else minutes
        granted = Protection(True, minutes, now + minutes * 60 / speed)
    if not service:
        return _not_valid(task_arn)
    return Reply(200, _shown(task_arn, granted, now), granted)


def remaining(enabled: bool, expires_in_minutes: int, expires_at: float | None, now: float, speed: float) -> Protection:
    """A protection granted earlier, as it stands `now`: what is left of it, in whole minutes rounded up."""
    if not enabled or expires_at is None or expires_at <= now:
        return Protection()
    left = -int(-(expires_at - now) * speed // 60)
    return Protection(True, min(left, expires_in_minutes), expires_at)


def _decode(body: bytes) -> tuple[bool | None, int | None]:
    request = {name.lower(): value for name, value in json.loads(body).items()}
    enabled, minutes = request.pop("protectionenabled", None), request.pop("expiresinminutes", None)
    if (
        request
        or not isinstance(enabled, bool | None)
        or isinstance(minutes, bool)
        or not isinstance(minutes, int | None)
    ):
        raise ValueError
    return enabled, minutes


def _shown(task_arn: str, protection: Protection, now: float) -> Json:
    holds = protection.holds(now)
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(protection.expires_at)) if holds else None
    return {"protection": {"ExpirationDate": date, "ProtectionEnabled": holds, "TaskArn": task_arn}}


def _not_valid(task_arn: str) -> Reply:
    detail = "The specified task isn't part of an Amazon ECS service"
    return Reply(200, {"failure": {"Arn": task_arn, "Detail": detail, "Reason": "TASK_NOT_VALID"}})


def _invalid(task_arn: str, message: str) -> Reply:
    error = {"Arn": task_arn, "Code": "InvalidParameterException", "Message": message}
    return Reply(400, {"error": {name: value for name, value in error.items() if value}})
