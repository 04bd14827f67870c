"""What was done on purpose, and whom it can have hurt: the faults of a run beside the calls that failed. Pure.

A planned fault has a number, which its end carries too. One that strikes a task explains what no answer of that task
followed; what the service then does (a target turns unhealthy, it drains) is told as the transition that it is, with
the fault that led to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from rollproof.verdict.records import Call, Fault, History
from rollproof.verdict.words import at, later, short

_OF_TASKS = {
    "crash": "task {who} was killed",
    "hang": "task {who} hung",
    "health-flap": "task {who} failed health checks now and then",
    "slow-responses": "task {who} answered late",
    "network-cut": "the network between the load balancer and task {who} was cut",
    "clock-step": "the clock of task {who} stepped",
    "spot-interruption": "Spot took the capacity of task {who} back",
}
_OF_SESSIONS = {"cookie-loss": "{who} lost its cookies", "client-crash": "the client of {who} crashed"}
_OF_REDIS = {
    "redis-down": "Redis went away",
    "redis-slow": "Redis answered late",
    "redis-flush": "Redis forgot all it held",
}
_OF_THE_SERVICE = {
    "slow-start": "tasks began to start late",
    "scale-in": "the service was scaled in",
    "az-rebalance": "an Availability Zone was away",
    "node-lag": "{who} began to lag behind",
    "orchestrator-crash": "the orchestrator was killed",
}
WORDS = _OF_TASKS | _OF_SESSIONS | _OF_REDIS | _OF_THE_SERVICE

TAKE_TASKS = frozenset({"crash", "spot-interruption", "scale-in", "az-rebalance"})
"""After these a task is gone, or nothing has been proved."""

_STOP_TASKS = frozenset({"scale-in", "az-rebalance"})
_FORGETS = "forgets=yes"


def planned_faults(history: History) -> tuple[Fault, ...]:
    """Those of a plan, as opposed to the disruption's own."""
    return tuple(fault for fault in history.faults if fault.number is not None)


def said(fault: Fault) -> str:
    """ "task 9344218f hung at t=120.4 s"."""
    words = WORDS.get(fault.text, f"{fault.text} struck {{who}}")
    return f"{words.format(who=short(fault.detail))} at {at(fault.t)}"


def fault_behind_call(faults: Sequence[Fault], call: Call, served_by: str) -> Fault | None:
    """The latest fault that `call`, of a session served by the task `served_by`, can have failed of directly."""
    return max((x for x in faults if _touches(x, call, served_by)), key=lambda x: x.t, default=None)


def fault_behind_transition(faults: Sequence[Fault], task_id: str, t: float) -> Fault | None:
    """The latest fault that can have led to what happened to a task at `t`."""
    before = [x for x in faults if x.t <= t]
    hit = [x for x in before if (x.text in _OF_TASKS and x.detail == task_id) or x.text in _STOP_TASKS]
    return max(hit, key=lambda x: x.t, default=None)


def lag_behind_transition(faults: Sequence[Fault], t: float) -> Fault | None:
    """The lag of a node that was on at `t`, when a target began to drain: sessions left it later than from others."""
    lags = [x for x in faults if x.text == "node-lag" and x.t <= t <= (inf if x.ended_at is None else x.ended_at)]
    return max(lags, key=lambda x: x.t, default=None)


def explained_by(fault: Fault, call: Call, what: str, signature: str) -> str:
    """One sentence for a call that failed of the fault itself."""
    return f"{said(fault)}; {later(max(0.0, call.t - fault.t))} {what} failed with {signature}"


def _touches(fault: Fault, call: Call, served_by: str) -> bool:
    """Whether the fault stands between this call and its answer."""
    if call.t < fault.t:
        return False
    is_on = call.started_at <= (inf if fault.ended_at is None else fault.ended_at)
    if fault.text in _OF_REDIS:
        has_lasting_effect = fault.text == "redis-flush" or _FORGETS in fault.told
        return is_on or has_lasting_effect
    if fault.text in _OF_SESSIONS:
        return call.session == fault.detail
    if fault.text in _OF_TASKS:
        return is_on and call.is_unanswered and fault.detail in (served_by, call.task_id)
    return False
