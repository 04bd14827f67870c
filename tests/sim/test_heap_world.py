"""The heap world against the golden timelines, its node views against the core's, and its parts by themselves."""

from __future__ import annotations

import math
from functools import partial

import pytest

from rollproof.core import events as e
from rollproof.core.decide import decide, routing_table
from rollproof.core.records import Overlay, replace
from rollproof.core.routing import node_view
from rollproof.core.settings import ContainerHealthCheck, Stickiness
from rollproof.core.world import World
from rollproof.sim.heap.agenda import Agenda, Kind
from rollproof.sim.heap.containers import Behaviour
from rollproof.sim.heap.moments import Watch
from rollproof.sim.heap.node_routes import NodeRoutes
from rollproof.sim.heap.world import Happened, HeapWorld
from tests.core.play import Play, settings
from tests.core.rollouts import random_rollout
from tests.scenarios import test_golden_timelines as golden

# --- agreement with what is known to be true ------------------------------------------------------------------------


@pytest.mark.parametrize("story", golden.STORIES, ids=lambda x: x.__name__)
def test_golden_story_is_the_same_where_what_changes_nothing_is_passed_over(
    story: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "Play", partial(Play, skips_idle=True))
    assert callable(story)
    told = (golden.GOLDEN / f"{story.__name__}.txt").read_text(encoding="utf-8").splitlines()
    assert story().story() == told


def test_moments_are_those_of_the_golden_timeline() -> None:
    heap = HeapWorld(settings()).run_until_steady().run(8)
    watch = Watch(heap.now)
    heap.checks.append(watch.follow)
    heap.update(force_new_deployment=True).run(600)
    text = (golden.GOLDEN / "rollout_start_first.txt").read_text(encoding="utf-8")
    lines = [(float(line[:8]), line[10:]) for line in text.splitlines()]

    def at(*ends: str) -> tuple[float, float]:
        found = [time for time, what in lines if what.endswith(ends)]
        return round(min(found), 1), round(max(found), 1)

    moments = watch.moments()
    seen = {name: (round(span[0], 1), round(span[1], 1)) for name, span in vars(moments).items() if type(span) is tuple}
    assert seen["draining"] == at("target of t1 draining", "target of t2 draining")
    assert seen["learned"] == at("holds t1 draining", "holds t2 draining")
    assert seen["removed"] == at("unused")
    assert seen["sigterm"] == at("SIGTERM")
    assert (moments.completed, moments.sigkill) == (at("deployment completed.")[0], None)


@pytest.mark.parametrize("seed", [1, 2, 6])
@pytest.mark.parametrize(
    ("slow_start_s", "is_sticky", "cross_zone", "healthy_percent"),
    [(0.0, True, "true", 0), (30.0, True, "true", 60), (0.0, False, "false", 0), (0.0, False, "false", 100)],
)
def test_node_views_are_those_of_the_whole_table(
    seed: int, slow_start_s: float, is_sticky: bool, cross_zone: str, healthy_percent: int
) -> None:
    """After every step of a random rollout, and after every node has learned of every drain."""
    rollout = random_rollout(seed)
    heap = HeapWorld(
        settings(
            desired=rollout.desired + 1,
            delay_s=rollout.delay_s,
            nodes=rollout.nodes,
            slow_start_s=slow_start_s,
            stickiness=Stickiness(enabled=is_sticky),
            sticky_overrides_drain=seed % 2 == 0,
            cross_zone=cross_zone,
            minimum_healthy_targets_percent=healthy_percent,
        )
    )
    nodes = [NodeRoutes(node_id) for node_id in heap.world.rules.node_ids]

    def follow(before: World, happened: Happened, after: World, now: float) -> None:
        changed = [x for x in {*before.targets, *after.targets} if before.targets.get(x) is not after.targets.get(x)]
        for node in nodes:
            for target_id in changed:
                node.update(after, target_id, now)

    def compare() -> None:
        table = routing_table(heap.world, heap.now, 1)
        for node in nodes:
            for target_id in heap.world.targets:
                node.update(heap.world, target_id, heap.now)
            assert node.view(heap.world) == node_view(table, next(x for x in table.nodes if x.id == node.node_id))

    heap.checks.append(follow)
    heap.run(600)
    for step in rollout.steps:
        step.do(heap)
        compare()
    for _ in range(20):
        heap.run(5)
        compare()
    assert heap.steps > 50


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_index_misses_nothing_that_decide_would_do(seed: int) -> None:
    heap = HeapWorld(settings(desired=3, delay_s=30.0), seed=seed, skips_idle=False)
    for step in random_rollout(seed).steps:
        step.do(heap)
        heap.run(7.3)
        assert decide(heap.world, heap.now) == []


def test_many_tasks_are_rolled_out_as_few_are() -> None:
    """Above MANY the world is kept in overlays: nothing else changes."""

    def moments(desired: int) -> object:
        heap = HeapWorld(settings(desired=desired)).run_until_steady().run(8)
        watch = Watch(heap.now)
        heap.checks.append(watch.follow)
        heap.update(force_new_deployment=True).run_until_steady()
        assert isinstance(heap.world.tasks, Overlay) == (desired > 64)
        return replace(watch.moments(), learned=None)  # each node and target draws its own

    assert moments(80) == moments(2)


# --- containers' own checks ------------------------------------------------------------------------------------------

CHECK = ContainerHealthCheck(("CMD", "true"), interval_s=5.0, retries=3, start_period_s=10.0)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (Behaviour(), [(5.0, True)]),
        (Behaviour(answers_after_s=12.0), [(15.0, True)]),  # 5 does not count, 10 does: one failure
        (Behaviour(answers_after_s=22.0), [(20.0, False), (25.0, True)]),  # failures at 10, 15, 20
        (Behaviour(health_status=503), [(20.0, False)]),
        (Behaviour(answers_after_s=math.inf), [(20.0, False)]),
    ],
)
def test_own_check_is_counted_as_docker_counts(how: Behaviour, said: list[tuple[float, bool]]) -> None:
    found: list[tuple[float, bool]] = []
    heap = HeapWorld(settings(desired=1, container_check=CHECK), behaviours={"mcp-server:1": how})

    def follow(before: World, happened: Happened, after: World, now: float) -> None:
        match happened:
            case e.ContainerHealthChanged(task_id=task_id, healthy=healthy) if task_id == first:
                found.append((now - heap.containers.started_at[task_id], healthy))
            case _:
                pass

    heap.checks.append(follow)
    heap.run(20)
    first = next(iter(heap.world.tasks))
    heap.run(60)
    assert found == said


def test_own_check_follows_a_changed_behaviour() -> None:
    heap = HeapWorld(settings(desired=1, container_check=CHECK)).run_until_steady()
    [task] = heap.world.tasks.values()
    heap.behave(task.id, Behaviour(health_status=None)).run(4)
    heap.behave(task.id, Behaviour()).run(30)
    assert heap.world.tasks[task.id].container_healthy is True
    heap.behave(task.id, Behaviour(health_status=None)).run(17)
    assert heap.world.tasks[task.id].container_healthy is False


def test_copy_goes_on_alone() -> None:
    heap = HeapWorld(settings()).run_until_steady()
    other, world = heap.copy(3), heap.world
    other.update(force_new_deployment=True).run_until_steady()
    assert heap.world is world
    assert other.world.primary.id != world.primary.id
    heap.update(force_new_deployment=True).run_until_steady()
    assert heap.now == other.now


# --- parts --------------------------------------------------------------------------------------------------------


def test_agenda_gives_what_is_due_in_the_order_of_the_first_mention() -> None:
    agenda = Agenda()
    agenda.put(Kind.TARGET, "x", 5.0)
    agenda.put(Kind.TASK, "b", 5.0)
    agenda.put(Kind.TASK, "a", 4.0)
    agenda.put(Kind.TASK, "c", 3.0)
    agenda.put(Kind.TASK, "c", 9.0)
    assert agenda.next_at() == 4.0
    assert agenda.take(5.0) == (["b", "a"], ["x"])
    agenda.put(Kind.TASK, "c", math.inf)
    assert (agenda.next_at(), agenda.take(99.0)) == (math.inf, ([], []))
