"""When AWS's waiters would be content: `aws ecs wait` and `aws elbv2 wait`, as predicates over what a stage describes.

A waiter asks again and again, so many times and no more (botocore, waiters-2.json). What is worth knowing for a
rollout is what its condition leaves out: services-stable is true only when the old deployment is gone, minutes after
clients have moved, and it is true after a rollback as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Facts = Mapping[str, Any]
"""A stage as `describe` tells it."""


class Answer(StrEnum):
    SUCCESS = "success"
    RETRY = "retry"
    FAILURE = "failure"


@dataclass(frozen=True)
class Waiter:
    """Asks every `every_s` AWS seconds, `tries` times. `look` is given the stage's facts, None where there is no stage,
    and the ids of the tasks that are waited for."""

    every_s: float
    tries: int
    doc: str
    look: Callable[[Facts | None, Collection[str]], Answer]


def services_stable(facts: Facts | None, _tasks: Collection[str]) -> Answer:
    """One deployment, and as many running tasks as desired. A service that is missing fails at once."""
    if facts is None:
        return Answer.FAILURE
    return _when(len(facts["deployments"]) == 1 and facts["running_count"] == facts["desired_count"])


def services_inactive(facts: Facts | None, _tasks: Collection[str]) -> Answer:
    """A stage's service is ACTIVE while the stage is up, and gone with it."""
    return _when(facts is None)


def tasks_running(facts: Facts | None, tasks: Collection[str]) -> Answer:
    """All RUNNING; one that is STOPPED or unknown fails it."""
    known = _known(facts, tasks)
    if not all(known) or "STOPPED" in known:
        return Answer.FAILURE
    return _when(all(x == "RUNNING" for x in known))


def tasks_stopped(facts: Facts | None, tasks: Collection[str]) -> Answer:
    """All STOPPED. One that is forgotten already, an hour later, is stopped too."""
    return _when(all(x in ("STOPPED", "") for x in _known(facts, tasks)))


def target_in_service(facts: Facts | None, tasks: Collection[str]) -> Answer:
    """Every task has a target, and all of them are healthy."""
    return _when(all(x == "healthy" for x in _states(facts, tasks)))


def target_deregistered(facts: Facts | None, tasks: Collection[str]) -> Answer:
    """Every target is unused. One that is not registered is (Target.NotRegistered); one that drains is not yet."""
    return _when(all(x in ("unused", "") for x in _states(facts, tasks)))


WAITERS: Mapping[str, Waiter] = {
    "services-stable": Waiter(15.0, 40, "one deployment, all desired tasks running", services_stable),
    "services-inactive": Waiter(15.0, 40, "the service is gone", services_inactive),
    "tasks-running": Waiter(6.0, 100, "the tasks are RUNNING; fails when one stops", tasks_running),
    "tasks-stopped": Waiter(6.0, 100, "the tasks are STOPPED", tasks_stopped),
    "target-in-service": Waiter(15.0, 40, "the tasks' targets are healthy", target_in_service),
    "target-deregistered": Waiter(15.0, 40, "the tasks' targets are unused, no longer draining", target_deregistered),
}
"""By the names that the AWS CLI gives them."""


def _when(condition: bool) -> Answer:
    return Answer.SUCCESS if condition else Answer.RETRY


def _known(facts: Facts | None, tasks: Collection[str]) -> list[str]:
    """Each task's status, "" where nothing is known of it."""
    found = {x["task_id"]: str(x["known"]) for x in facts["tasks"]} if facts else {}
    return [found.get(task, "") for task in tasks]


def _states(facts: Facts | None, tasks: Collection[str]) -> list[str]:
    """Each task's target's state, "" where none is registered."""
    found = {x["task_id"]: str(x["state"]) for x in facts["targets"]} if facts else {}
    return [found.get(task, "") for task in tasks]
