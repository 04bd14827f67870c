"""The story of one run, told so that another run can tell the same: no ids, no addresses, no numbers of chance.

It goes from the disruption to the steady state. A task is known by its role ("old task": there before; "new
task": of the new deployment; "replacement": new, of a deployment that was there before), a target by the role of
its task, a deployment by its age. What ECS says is kept in ECS's words, with roles for ids:

    (service mcp) has started 2 tasks: (task 9344218f...) (task 7f2dddb8...).  ->  has started tasks: (new task).

All events of the same words make one Beat. How many tasks one event names depends on how many were ready when the
scheduler's pass came, so two events of one task each are one event of two: what counts is the sum.

A deployment that fails is repeated until its circuit breaker opens, and how many tasks have failed by then, and
how far the last ones had come, is chance: "failed task" and "task cut short" are roles of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rollproof.verdict.records import History, TargetChange, Text
from rollproof.verdict.rollout import SAME_MOMENT_S, Rollout, TaskLife
from rollproof.verdict.steps import APPLICATION_START_S, REACTION_S

OLD_TASK, NEW_TASK, REPLACEMENT, UNKNOWN_TASK = "old task", "new task", "replacement", "unknown task"
FAILED_TASK, CUT_SHORT = "failed task", "task cut short"
OLD_DEPLOYMENT, NEW_DEPLOYMENT = "old deployment", "new deployment"

GONE = frozenset({"STOPPED", "unused"})

_TASK = re.compile(r"\(task ([^)]*)\)")
_SERVICE = re.compile(r"^\(service [^,)]*(?:\) |, )")
_TARGET_GROUP = re.compile(r"\(target-group [^)]*\)")
_PORT = re.compile(r"\(port \d+\) ")
_DEPLOYMENT = re.compile(r"(?:deployment )?(ecs-svc/\d+)")
_COUNT = re.compile(r"\b(\d+) ((?:running |pending )?(?:tasks|targets)\b)")


@dataclass(frozen=True)
class Beat:
    """One service event and all its repetitions. `t`: points of the history; `count`: tasks or targets, in sum."""

    text: str
    t: tuple[float, ...]
    count: int = 0


@dataclass(frozen=True)
class Path:
    """What one task, target or deployment went through, from its state at the disruption to the steady state.

    `beyond` goes on to the end of the rehearsal. `t`: when the last of `states` was entered.
    """

    states: tuple[str, ...]
    beyond: tuple[str, ...]
    t: float


Paths = Mapping[str, tuple[Path, ...]]
"""Role -> the paths of all that have it."""


@dataclass(frozen=True)
class RunStory:
    """Beats in order of first appearance. `has_failed`: the new deployment did, so how often is chance.

    `exits_at_start`: it failed because its processes exited; whether one lives to be registered, is chance too.
    """

    began_at: float | None = None
    ended_at: float = 0.0
    beats: tuple[Beat, ...] = ()
    tasks: Paths = field(default_factory=dict)
    targets: Paths = field(default_factory=dict)
    deployments: Paths = field(default_factory=dict)
    has_failed: bool = False
    exits_at_start: bool = False

    def beat(self, text: str) -> Beat | None:
        return next((beat for beat in self.beats if beat.text == text), None)


def run_story(history: History, rollout: Rollout) -> RunStory:
    """The story of `history`; an empty one where nothing was done to the service."""
    began_at = rollout.triggered_at
    if began_at is None:
        return RunStory()
    span = _Span(began_at, _ended_at(history, rollout, began_at), rollout.over_at)
    roles = {life.task_id: _role(life, rollout) for life in rollout.lives}
    fates = {life.task_id: _fate(life, rollout) or roles[life.task_id] for life in rollout.lives}
    names = _deployment_names(history, began_at)
    owned = [(_owner(x, rollout.lives), x) for x in history.targets]
    late = _still_starting(history, rollout.lives)
    return RunStory(
        began_at=began_at,
        ended_at=span.ended_at,
        beats=_beats((e for e in history.events if began_at <= e.t <= span.ended_at), roles, names),
        tasks=span.paths((fates[x.task_id], x.task_id, x.t, x.known) for x in history.tasks if x.task_id in fates),
        targets=span.paths(
            (fates.get(owner, UNKNOWN_TASK), owner, x.t, x.state) for owner, x in owned if not late(owner, x)
        ),
        deployments=span.paths(
            (names[x.id], x.id, x.t, _state(x.status, x.rollout_state)) for x in history.deployments
        ),
        has_failed=rollout.failed_at is not None,
        exits_at_start=_exits_at_start([life for life in rollout.lives if fates[life.task_id] == FAILED_TASK]),
    )


def _ended_at(history: History, rollout: Rollout, began_at: float) -> float:
    """The steady state: ECS says so while a stopped task still drains, the play's own mark comes when that is gone."""
    marked = next((mark.t for mark in history.marks if mark.text == "steady" and mark.t >= began_at), None)
    ends = [at for at in (rollout.steady_at, marked) if at is not None]
    return max(ends) if ends else min(rollout.over_at, history.ended_at)


def _role(life: TaskLife, rollout: Rollout) -> str:
    if life not in rollout.new:
        return OLD_TASK
    return NEW_TASK if life.deployment and life.deployment == rollout.deployment_id else REPLACEMENT


def _fate(life: TaskLife, rollout: Rollout) -> str:
    """Of a task of the deployment that failed; empty for all others."""
    if rollout.failed_at is None or life not in rollout.new or life.deployment != rollout.deployment_id:
        return ""
    return FAILED_TASK if _has_died(life) or _is_judged(life) else CUT_SHORT


def _has_died(life: TaskLife) -> bool:
    """By itself, and not while the scheduler was already stopping it."""
    if life.exit_code is None or life.exited_at is None or life.sigterm_at is not None:
        return False
    return life.decided_at is None or life.decided_at >= life.exited_at


def _is_judged(life: TaskLife) -> bool:
    """Unhealthy to its target group, or to its own check."""
    return life.unhealthy_at is not None or "failed" in life.stopped_reason


def _exits_at_start(failed: Sequence[TaskLife]) -> bool:
    return bool(failed) and all(_has_died(life) and not _is_judged(life) for life in failed)


def _deployment_names(history: History, began_at: float) -> dict[str, str]:
    """Deployment id -> "old deployment", "new deployment", "new deployment 2": by age."""
    names: dict[str, str] = {}
    for change in history.deployments:
        if change.id not in names:
            base = OLD_DEPLOYMENT if change.t < began_at else NEW_DEPLOYMENT
            older = sum(name.startswith(base) for name in names.values())
            names[change.id] = f"{base} {older + 1}" if older else base
    return names


def _owner(change: TargetChange, lives: Sequence[TaskLife]) -> str:
    """The task behind a target. Ports are handed out again: the latest user of the address counts."""
    if change.task_id:
        return change.task_id
    users = [life for life in lives if change.target_id in life.addresses and life.first_seen_at <= change.t]
    return users[-1].task_id if users else change.target_id


def _still_starting(history: History, lives: Sequence[TaskLife]) -> Callable[[str, TargetChange], bool]:
    """Whether a target is only unhealthy because its server is not up yet, within the time a start may take.

    A server's start is not scaled, a check's interval is: at speed 20 the three checks that fail take two seconds of
    the machine's time. At AWS's own pace they take longer than the start is allowed, so that nothing is left out.
    """
    allowed_s = REACTION_S + APPLICATION_START_S + (history.setting_s("target_group.health_check.interval_s") or 0.0)
    healthy_by = {
        life.task_id: life.healthy_at
        for life in lives
        if life.registered_at is not None
        and life.healthy_at is not None
        and life.healthy_at - life.registered_at <= allowed_s
    }
    return lambda owner, change: change.state == "unhealthy" and change.t < healthy_by.get(owner, 0.0)


def _state(*words: str) -> str:
    return " ".join(word for word in words if word)


def _beats(events: Iterable[Text], roles: Mapping[str, str], names: Mapping[str, str]) -> tuple[Beat, ...]:
    found: dict[str, Beat] = {}
    for event in events:
        text, count = _normalised(event.text, roles, names)
        before = found.get(text, Beat(text, ()))
        found[text] = Beat(text, (*before.t, event.t), before.count + count)
    return tuple(found.values())


def _normalised(message: str, roles: Mapping[str, str], names: Mapping[str, str]) -> tuple[str, int]:
    """ECS's words without ids and numbers, and the (first) number that stood in them."""
    told = sorted({f"({roles.get(task, UNKNOWN_TASK)})" for task in _TASK.findall(message)})
    text = _SERVICE.sub("(" if ", taskSet" in message else "", message)
    text = _TARGET_GROUP.sub("(target-group)", _PORT.sub("", text))
    text = _DEPLOYMENT.sub(lambda found: names.get(found[1], "unknown deployment"), text)
    number = _COUNT.search(text)
    text = _COUNT.sub(r"\2", text)
    first, *_ = _TASK.split(text, maxsplit=1)
    rest = _TASK.sub("", text[len(first) :]).lstrip()
    text = " ".join((first + " ".join(told) + (" " if rest[:1].isalnum() else "") + rest).split())
    return text, int(number[1]) if number else 0


@dataclass(frozen=True)
class _Span:
    """The story's part of a history, and the rehearsal's end."""

    began_at: float
    ended_at: float
    over_at: float

    def paths(self, changes: Iterable[tuple[str, str, float, str]]) -> dict[str, tuple[Path, ...]]:
        """(role, id, t, state) in order of t -> the paths by role. What had ended before the disruption has none."""
        whole: dict[tuple[str, str], list[tuple[float, str]]] = {}
        for role, identifier, t, state in changes:
            if state and t <= self.over_at:
                steps = whole.setdefault((role, identifier), [])
                if not steps or steps[-1][1] != state:
                    steps.append((t, state))
        found: dict[str, list[Path]] = {}
        for (role, _), steps in whole.items():
            path = self._path(steps)
            if path is not None:
                found.setdefault(role, []).append(path)
        return {role: tuple(sorted(paths, key=lambda path: path.states)) for role, paths in sorted(found.items())}

    def _path(self, steps: Sequence[tuple[float, str]]) -> Path | None:
        start = self.began_at - SAME_MOMENT_S  # a crash may be seen before the fault is written down
        before = [step for step in steps if step[0] < start]
        if before and before[-1][1] in GONE:
            return None
        told = [*before[-1:], *(step for step in steps if step[0] >= start)]
        own = [step for step in told if step[0] <= self.ended_at]
        if not own:
            return None
        return Path(tuple(s for _, s in own), tuple(s for _, s in told[len(own) :]), own[-1][0])
