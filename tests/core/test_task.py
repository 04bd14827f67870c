"""A task's life: the table of moves, the decision to stop, and the end of its container."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from rollproof.core.errors import IllegalTransition
from rollproof.core.task import (
    TRANSITIONS,
    DesiredStatus,
    StopCode,
    Task,
    TaskStatus,
    container_ended,
    decide_stop,
    move,
)

S = TaskStatus
NEW = Task(id="t", deployment_id="ecs-svc/1", definition="mcp-server:1", availability_zone="a", created_at=0.0)
UP = replace(NEW, known=S.RUNNING, pull_stopped_at=17.5, address="10.0.0.1:80", registered_at=20.0, started_at=28.5)
ALL_MOVES = [(start, to) for start in S for to in S]


@pytest.mark.fidelity("ECS-TASK-1", "ECS-TASK-32")
def test_life_of_a_task_passes_through_every_status_in_order() -> None:
    task = NEW
    for _, to in pairwise(S):
        task = move(task, to, float(to))
    assert task.known is S.STOPPED
    stamps = [task.connectivity_at, task.pull_stopped_at, task.started_at, task.stopping_at, task.execution_stopped_at]
    assert stamps == [2.0, 3.0, 4.0, 6.0, 7.0]
    assert task.stopped_at == 8.0


@pytest.mark.parametrize(("start", "to"), [x for x in ALL_MOVES if x[1] not in TRANSITIONS[x[0]]])
def test_move_absent_from_the_table_raises_and_leaves_the_task(start: TaskStatus, to: TaskStatus) -> None:
    task = replace(NEW, known=start)
    with pytest.raises(IllegalTransition) as raised:
        move(task, to, 1.0)
    assert (raised.value.state, raised.value.event) == (start.name, to.name)
    assert task == replace(NEW, known=start)


@pytest.mark.parametrize(("start", "to"), ALL_MOVES)
def test_no_move_goes_back(start: TaskStatus, to: TaskStatus) -> None:
    assert to > start or to not in TRANSITIONS[start]


@pytest.mark.fidelity("ECS-TASK-3", source="ECS-DG/task-lifecycle; O10", mark="observed")
@pytest.mark.parametrize(
    ("task", "drains", "known"),
    [
        pytest.param(NEW, True, S.DEPROVISIONING, id="stop_provisioning"),
        pytest.param(replace(NEW, known=S.PENDING), True, S.DEPROVISIONING, id="stop_pending"),
        pytest.param(replace(NEW, known=S.ACTIVATING, pull_stopped_at=1.0), True, S.DEACTIVATING, id="stop_activating"),
        pytest.param(UP, True, S.DEACTIVATING, id="stop_running"),
        pytest.param(UP, False, S.STOPPING, id="stop_running_without_drain"),
    ],
)
def test_decision_to_stop_wants_it_stopped_at_once(task: Task, drains: bool, known: TaskStatus) -> None:
    stopped = decide_stop(task, StopCode.USER_INITIATED, "why", drains=drains, now=50.0)
    assert (stopped.known, stopped.desired) == (known, DesiredStatus.STOPPED)
    assert (stopped.stop_code, stopped.stopped_reason, stopped.stop_decided_at) == (
        StopCode.USER_INITIATED,
        "why",
        50.0,
    )


def test_decision_to_stop_asked_twice_the_first_holds() -> None:
    once = decide_stop(UP, StopCode.SERVICE_SCHEDULER_INITIATED, "first", drains=True, now=50.0)
    assert decide_stop(once, StopCode.USER_INITIATED, "second", drains=False, now=60.0) is once


@pytest.mark.fidelity("ECS-TASK-30", source="API-ECS ContainerDefinition", mark="doc")
def test_exit_of_a_wanted_container_is_a_crash() -> None:
    ended = container_ended(UP, 1, "Essential container in task exited", StopCode.ESSENTIAL_CONTAINER_EXITED, 60.0)
    assert ended.crashed
    assert (ended.known, ended.desired, ended.exit_code) == (S.DEPROVISIONING, DesiredStatus.STOPPED, 1)
    assert ended.stop_code is StopCode.ESSENTIAL_CONTAINER_EXITED
    assert ended.stopping_at == ended.execution_stopped_at == 60.0


def test_exit_of_a_container_told_to_stop_keeps_the_first_reason() -> None:
    told = decide_stop(UP, StopCode.SERVICE_SCHEDULER_INITIATED, "scaling", drains=False, now=50.0)
    ended = container_ended(told, 143, "exited", StopCode.ESSENTIAL_CONTAINER_EXITED, 51.0)
    assert not ended.crashed
    assert (ended.exit_code, ended.stop_code, ended.stopped_reason) == (
        143,
        StopCode.SERVICE_SCHEDULER_INITIATED,
        "scaling",
    )
    assert (ended.stopping_at, ended.execution_stopped_at) == (50.0, 51.0)


def test_exit_reported_again_changes_nothing() -> None:
    ended = container_ended(UP, 1, "exited", StopCode.ESSENTIAL_CONTAINER_EXITED, 60.0)
    assert container_ended(ended, 137, "again", StopCode.ESSENTIAL_CONTAINER_EXITED, 61.0) is ended


@pytest.mark.parametrize(
    ("task", "has_container"),
    [(NEW, False), (UP, True), (replace(UP, execution_stopped_at=60.0), False)],
    ids=["not_pulled", "up", "ended"],
)
def test_container_of_a_task(task: Task, has_container: bool) -> None:
    assert task.has_container is has_container


def test_protection_lasts_until_its_time() -> None:
    task = replace(UP, protected_until=100.0)
    assert [task.is_protected(99.9), task.is_protected(100.0), UP.is_protected(0.0)] == [True, False, False]
