"""Random rollouts with random faults against the laws, as many as wanted; a failing one shrunk to a test to paste.

    python -m tests.core.rollouts --count 100000            make properties does this
    python -m tests.core.rollouts --count 1 --seed 4711     this one again

Every rollout is made from one seed: a service, up to twelve steps (deployments of good and bad revisions, some on top
of others, crashes, hangs, failing checks, StopTask, Spot interruptions, zones that place nothing, nodes that lag,
scaling, protection, changed percents, time), and then the end: the faults stop, a revision that works is deployed, and
it has to complete or to be named stuck, with nothing left over. Zones that then get out of balance come back to it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields, replace
from random import Random

from rollproof.core import events as e
from rollproof.core.decide import decide
from rollproof.core.service_end import is_stuck
from rollproof.core.settings import CircuitBreaker, ThresholdType
from rollproof.core.world import World
from rollproof.sim.heap import steps as s
from rollproof.sim.heap.containers import Behaviour
from rollproof.sim.heap.world import Check, HeapWorld
from tests.core.laws import BAD, GOOD, LAWS, has_ended, is_balanced, nothing_is_left
from tests.core.play import settings

NO_BREAKER = CircuitBreaker()
PERCENTS = [(100, 200), (100, 200), (50, 200), (50, 100), (0, 100), (0, 200), (100, 150), (75, 125), (100, 125)]
BREAKERS = [
    NO_BREAKER,
    CircuitBreaker(enable=True),
    CircuitBreaker(enable=True, rollback=True),
    CircuitBreaker(True, True, ThresholdType.COUNT, 2, reset_on_healthy_task=False),
]
ENDS_WITHIN_S = 10_800.0
OUT_OF_BALANCE: s.Steps = (
    s.Scale(4), s.Wait(700.0), s.ProtectZone(0), s.Scale(2), s.Wait(100.0), s.ProtectZone(0, False),
)  # fmt: skip


@dataclass(frozen=True)
class Rollout:
    """A service, how long it runs before the first step, and the steps."""

    steps: tuple[s.Step, ...] = ()
    desired: int = 2
    percents: tuple[int, int] = (100, 200)
    delay_s: float = 30.0
    nodes: int = 2
    grace_s: float = 0.0
    breaker: CircuitBreaker = NO_BREAKER
    runs_s: float = 600.0
    seed: int = 0
    rebalances: bool = True
    is_cross_zone: bool = True
    healthy_percent: int = 0  # of the targets; a node that knows fewer fails open


def random_rollout(seed: int) -> Rollout:
    random = Random(seed)
    rollout = Rollout(
        steps=tuple(_random_step(random) for _ in range(random.randint(1, 12))),
        desired=random.randint(0, 4),
        percents=random.choice(PERCENTS),
        delay_s=random.choice([30.0, 300.0, 0.0, 5.0]),
        nodes=random.randint(1, 3),
        grace_s=random.choice([0.0, 0.0, 120.0]),
        breaker=random.choice(BREAKERS),
        runs_s=random.choice([600.0, 20.0]),
        seed=random.randint(0, 3),
        rebalances=random.random() < 0.6,
        is_cross_zone=random.random() < 0.7,
        healthy_percent=random.choice([0, 0, 60, 100]),
    )
    return replace(rollout, steps=(*_out_of_balance(random), *rollout.steps)) if random.random() < 0.4 else rollout


def _out_of_balance(random: Random) -> tuple[s.Step, ...]:
    """A scale-in that only one zone's tasks are protected from; the protection ends at once or by itself."""
    zone, back = random.randint(0, 1), s.ProtectZone(0, False)
    count = random.randint(4, 6)
    steps = [s.Scale(count), s.Wait(100.0), s.ProtectZone(zone), s.Scale(random.randint(2, count - 1)), s.Wait(100.0)]
    return (*steps, replace(back, zone=zone), s.Wait(random.choice([9.0, 30.0, 100.0, 700.0])))[: random.randint(5, 7)]


def _random_step(random: Random) -> s.Step:
    task = random.randint(0, 9)
    match random.randint(0, 15):
        case 0 | 1:
            return s.Deploy((BAD | GOOD)[random.choice(sorted(BAD) + sorted(GOOD))])
        case 2:
            return s.Force()
        case 3:
            return s.Scale(random.randint(0, 6), random.random() < 0.5)
        case 4:
            return s.ChangePercents(*random.choice(PERCENTS))
        case 5:
            return s.Crash(task, random.choice([1, 137]))
        case 6:
            return s.StopTask(task)
        case 7:
            return s.AnswerChecks(task, random.choice([503, None, 200]))
        case 8:
            return s.CheckContainer(task, random.random() < 0.5)
        case 9:
            return s.Protect(task, random.random() < 0.7)
        case 10:
            return s.Interrupt(task)
        case 11:
            return s.ImpairZone(random.randint(0, 1), random.random() < 0.4)
        case 12:
            return s.LagNode(random.randint(0, 2), random.choice([0.0, 20.0, 400.0]))
        case _:
            return s.Wait(random.choice([1.0, 9.0, 30.0, 100.0, 700.0]))


def play_rollout(rollout: Rollout) -> None:
    """Raises AssertionError, or whatever the core raises, where a law is broken."""
    play_the_end(play_steps(rollout))


def play_steps(rollout: Rollout, *, skips_idle: bool = True, and_check: Check | None = None) -> HeapWorld:
    chosen = settings(
        desired=rollout.desired,
        minimum=rollout.percents[0],
        maximum=rollout.percents[1],
        delay_s=rollout.delay_s,
        nodes=rollout.nodes,
        health_check_grace_period_s=rollout.grace_s,
        circuit_breaker=rollout.breaker,
        stop_timeout_s=5.0,
        availability_zone_rebalancing="ENABLED" if rollout.rebalances else "DISABLED",
        cross_zone="true" if rollout.is_cross_zone else "false",
        minimum_healthy_targets_percent=rollout.healthy_percent,
    )
    heap = HeapWorld(
        chosen, seed=rollout.seed, checks=[*LAWS, *([and_check] if and_check else [])], skips_idle=skips_idle
    )
    heap.run(rollout.runs_s)
    for step in rollout.steps:
        step.do(heap)
        assert decide(heap.world, heap.now) == [], "something was due and was not done"
    return heap


def play_the_end(heap: HeapWorld) -> None:
    """The faults stop and a revision that works is deployed. Three hours later its rollout has ended."""
    for task in list(heap.world.tasks.values()):
        if task.id in heap.containers.exceptions:
            heap.behave(task.id, replace(heap.containers.exceptions[task.id], health_status=200))
        heap.tell(e.ContainerHealthChanged(task.id, True))
    for zone in heap.world.settings.service.availability_zones:
        heap.tell(e.ZoneAvailabilityChanged(zone, True))
    s.Deploy(Behaviour()).do(heap)
    looked_at: list[World] = []

    def has_come_to_an_end(world: World) -> bool:
        is_new, looked_at[:] = not looked_at or looked_at[0] is not world, [world]
        return is_new and has_ended(world, heap.now)

    heap.run_until(has_come_to_an_end, at_most_s=ENDS_WITHIN_S)
    if not is_stuck(heap.world, heap.now):
        heap.run(700)
        nothing_is_left(heap.world)
        if heap.world.settings.service.availability_zone_rebalancing == "ENABLED":
            zones_come_back(heap)


def zones_come_back(heap: HeapWorld) -> None:
    """Two of four tasks stay in one zone, protected from a scale-in. That ended, zones get in balance again."""
    for step in OUT_OF_BALANCE:
        step.do(heap)
    heap.run_until(lambda world: world.is_steady and is_balanced(world), at_most_s=ENDS_WITHIN_S).run(700)
    nothing_is_left(heap.world)
    assert is_balanced(heap.world)


# --- many of them ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """What a slice of the rollouts came to: how many steps of each kind, seeds that broke a law, seconds of CPU."""

    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    failing: tuple[int, ...] = ()
    steps_checked: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0

    def __add__(self, other: Batch) -> Batch:
        return Batch(*(getattr(self, x.name) + getattr(other, x.name) for x in fields(Batch)))


def play_many(seeds: range) -> Batch:
    began = time.process_time()
    played = [play_seed(seed) for seed in seeds]
    return replace(sum(played, Batch()), cpu_s=time.process_time() - began)


def play_seed(seed: int) -> Batch:
    rollout = random_rollout(seed)
    kinds = Counter(_kind(step) for step in rollout.steps)
    try:
        heap = play_steps(rollout)
        play_the_end(heap)
    except Exception:
        return Batch(1, kinds, (seed,))
    return Batch(1, kinds, (), heap.steps, heap.now)


def _kind(step: s.Step) -> str:
    match step:
        case s.Deploy(behaviour=behaviour):
            return "deploy: " + next(name for name, how in (BAD | GOOD).items() if how == behaviour)
        case s.AnswerChecks(status=status):
            return f"checks answered {status or 'by nothing: hangs'}"
        case _:
            return type(step).__name__


def batches(first: int, count: int, jobs: int) -> Iterator[Batch]:
    size = max(1, min(250, count // jobs))
    slices = [range(at, min(at + size, first + count)) for at in range(first, first + count, size)]
    if jobs == 1:
        yield from map(play_many, slices)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(play_many, slices)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    from tests.core.shrink import pasteable, shrink  # it plays rollouts, too

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first one; the others count on from it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    last = asked.seed + asked.count - 1
    say(f"{asked.count} rollouts, seeds {asked.seed} to {last}, {len(LAWS)} laws after every step")
    began, total = time.monotonic(), Batch()
    for batch in batches(asked.seed, asked.count, asked.jobs):
        total += batch
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{total.count} of {asked.count}, {time.monotonic() - began:.0f} s ")
    say("\n".join(f"  {number:8} {kind}" for kind, number in total.kinds.most_common()))
    say(
        f"{total.count} rollouts in {time.monotonic() - began:.0f} s ({total.cpu_s:.0f} s of CPU, "
        f"{total.count / total.cpu_s:.0f} a second of it), {total.steps_checked} steps checked, "
        f"{total.virtual_s / 86_400:.0f} virtual days; laws broken by {len(total.failing)}"
    )
    if not total.failing:
        return 0
    first = total.failing[0]
    say(f"seeds: {list(total.failing[:20])}; the first one, shrunk:\n")
    say(pasteable(shrink(random_rollout(first)), first))
    return 1


if __name__ == "__main__":
    sys.exit(main())
