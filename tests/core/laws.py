"""What holds whatever happens to a service: laws for every single step, and what every rollout has to come to.

Hypothesis (test_properties.py) and the random rollouts (rollouts.py) check them after each step.
"""

from __future__ import annotations

import math

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import target_group as tg
from rollproof.core.deployment import DeploymentStatus, RolloutState
from rollproof.core.service_end import is_stuck
from rollproof.core.task import StopCode, Task, TaskStatus
from rollproof.core.world import World
from rollproof.sim.heap.containers import Behaviour
from rollproof.sim.heap.world import Happened

# --- the laws -----------------------------------------------------------------------------------------------


def is_serving(world: World, task: Task, now: float) -> bool:
    """Counts to the minimum healthy percent, as the API documents it, worked out anew here."""
    if task.known is not TaskStatus.RUNNING or task.unhealthy_reason:
        return False
    target = world.targets.get(task.address)
    return target is not None and tg.state(target, now)[0] is tg.TargetState.HEALTHY


def floor_holds(before: World, happened: Happened, after: World, now: float) -> None:
    """The scheduler never stops a healthy task that the minimum healthy percent needs."""
    if not isinstance(happened, c.StopTask) or not is_serving(before, before.tasks[happened.task_id], now):
        return
    service = after.settings.service
    left = sum(is_serving(after, task, now) for task in after.tasks.values())
    least = math.ceil(service.desired_count * service.minimum_healthy_percent / 100)
    assert left >= least, f"{left} healthy tasks left at {now}, the minimum is {least}"


def ceiling_holds(before: World, happened: Happened, after: World, now: float) -> None:
    """The scheduler never starts a task above the maximum percent; what drains or stops counts."""
    if not isinstance(happened, c.StartTask):
        return
    service = after.settings.service
    total = sum(task.known < TaskStatus.STOPPED for task in after.tasks.values())
    most = math.floor(service.desired_count * service.maximum_percent / 100)
    assert total <= most, f"{total} tasks at {now}, the maximum is {most}"


def drain_comes_first(before: World, happened: Happened, after: World, now: float) -> None:
    """No stop signal while the target is registered, or before the full delay has passed."""
    if not isinstance(happened, c.SignalContainer):
        return
    task = before.tasks[happened.task_id]
    if task.registered_at is None or task.stop_code is StopCode.SPOT_INTERRUPTION:  # whose two minutes come first
        return
    assert task.address not in before.targets, f"SIGTERM at {now} to a task whose target is still there"
    assert task.deregistered_at is not None
    waited_s = now - task.deregistered_at
    delay_s = before.settings.target_group.deregistration_delay_s
    assert waited_s >= delay_s, f"SIGTERM {waited_s} s after deregistration, the delay is {delay_s} s"


def draining_is_for_good(before: World, happened: Happened, after: World, now: float) -> None:
    """A target that drains goes on draining until it is gone, and no node thinks better of it."""
    for key, target in before.targets.items():
        if target.draining_at is None or key not in after.targets:
            continue
        later = after.targets[key]
        assert later.draining_at == target.draining_at
        if isinstance(happened, e.NodeLagChanged):
            continue  # a node may be made to lag again
        for node in target.nodes:
            was, known = (tg.node_state(x, node, now, after.rules) for x in (target, later))
            assert was is not tg.TargetState.DRAINING or known is tg.TargetState.DRAINING


def nothing_is_orphaned(before: World, happened: Happened, after: World, now: float) -> None:
    """Every living task has its deployment, every target its task."""
    known = {x.id for x in after.deployments}
    assert all(x.deployment_id in known for x in after.tasks.values() if x.known is not TaskStatus.STOPPED)
    for target in after.targets.values():
        assert not after.tasks[target.task_id].container_removed


def one_deployment_is_primary(before: World, happened: Happened, after: World, now: float) -> None:
    statuses = [x.status for x in after.deployments]
    assert statuses == [DeploymentStatus.PRIMARY] + [DeploymentStatus.ACTIVE] * (len(statuses) - 1)
    assert len({x.number for x in after.deployments}) == len(statuses)
    assert all(x.desired_count >= 0 and x.failed_tasks >= 0 for x in after.deployments)


def time_goes_on(before: World, happened: Happened, after: World, now: float) -> None:
    """Events in order, and a task's timestamps in the order of its life (API-ECS Task)."""
    if isinstance(happened, c.EmitServiceEvent):
        at = [x.at for x in after.service_events[-2:]]
        assert at == sorted(set(at))
    task = after.tasks.get(getattr(happened, "task_id", ""))
    if task is not None:
        life = [task.created_at, task.connectivity_at, task.pull_started_at, task.pull_stopped_at]
        life += [task.started_at, task.stopping_at, task.execution_stopped_at, task.stopped_at]
        told = [x for x in life if x is not None]
        assert told == sorted(told), told


LAWS = (
    floor_holds,
    ceiling_holds,
    drain_comes_first,
    draining_is_for_good,
    nothing_is_orphaned,
    one_deployment_is_primary,
    time_goes_on,
)

# --- the end of every rollout ----------------------------------------------------------------------------------


def has_ended(world: World, now: float) -> bool:
    """COMPLETED and steady, or named stuck. (A FAILED one has ended too, but is not an end to stay at.)"""
    if is_stuck(world, now):
        said = " ".join(x.message for x in world.service_events)
        return "was unable to stop or start tasks" in said or "tasks under protection" in said
    return world.primary.rollout_state is RolloutState.COMPLETED and world.is_steady


def nothing_is_left(world: World) -> None:
    """After a steady state and the longest drain: the desired tasks, their targets, and nothing else."""
    alive = [x for x in world.tasks.values() if x.known is not TaskStatus.STOPPED]
    assert [x.known for x in alive] == [TaskStatus.RUNNING] * world.settings.service.desired_count
    assert {x.address for x in alive} == set(world.targets)
    assert all(x.container_removed for x in world.tasks.values() if x.known is TaskStatus.STOPPED)
    assert len(world.deployments) == 1


def is_balanced(world: World) -> bool:
    """No zone holds two tasks more than another; only asked of a service that rebalances and has room for a task more
    (API-ECS availabilityZoneRebalancing)."""
    service = world.settings.service
    most = math.floor(service.desired_count * service.maximum_percent / 100)
    if service.availability_zone_rebalancing != "ENABLED" or most <= service.desired_count:
        return True
    zones = [x.availability_zone for x in world.tasks.values() if x.is_wanted]
    held = [zones.count(zone) for zone in service.availability_zones]
    return max(held) - min(held) <= 1


# --- containers --------------------------------------------------------------------------------------------------

BAD = {
    "cannot be pulled": Behaviour(starts_after_s=None),
    "exits at start": Behaviour(crashes_after_s=0.1, exit_code=1),
    "exits once running": Behaviour(crashes_after_s=25.0, exit_code=1),
    "never listens": Behaviour(answers_after_s=math.inf),
    "answers 503": Behaviour(health_status=503),
}
GOOD = {
    "quick": Behaviour(),
    "slow to start": Behaviour(starts_after_s=20.0, answers_after_s=15.0),
    "ignores SIGTERM": Behaviour(exits_on_sigterm_after_s=None),
}
