"""How quick the heap world is: the tables of docs/performance.md. `make bench-sim` prints them, in some two minutes.

CPU time of one process, which carries over to a machine that others use too; one service is brought up per row.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from rollproof.core.settings import ServiceSettings, Settings, Stickiness, TargetGroupSettings
from rollproof.sim.heap import simulate
from rollproof.sim.heap.simulate import forget_services

SMALL = ((1, 0), (1, 20), (2, 20), (2, 1_000), (10, 20), (10, 1_000))
LARGE = ((10, 1_000_000), (100, 1_000_000), (1_000, 1_000_000), (10_000, 1_000_000), (10_000, 100))


def service(desired_count: int) -> Settings:
    """AWS's defaults, with sticky cookies: 100/200, a delay of 300 s."""
    group = TargetGroupSettings(stickiness=Stickiness(enabled=True))
    return Settings(service=ServiceSettings(desired_count=desired_count), target_group=group)


def small(desired_count: int, sessions: int, for_s: float) -> float:
    """Rollouts a second of CPU, each of another seed; the service is brought up once, as for a sweep."""
    settings, count = service(desired_count), 0
    simulate(settings, sessions=sessions)
    began = time.process_time()
    while time.process_time() < began + for_s:
        count += 1
        simulate(settings, sessions=sessions, seed=count)
    return count / (time.process_time() - began)


def say(*cells: object) -> None:
    sys.stdout.write("| " + " | ".join(map(str, cells)) + " |\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of CPU, for each row of the first table")
    parser.add_argument("--most-tasks", type=int, default=10_000)
    asked = parser.parse_args()
    say("tasks", "sessions", "rollouts a second")
    say("---", "---", "---")
    for desired, sessions in SMALL:
        say(desired, sessions, f"{small(desired, sessions, asked.seconds):.0f}")
    sys.stdout.write("\n")
    say("tasks", "sessions", "calls", "CPU s", "peak MiB so far")
    say(*["---"] * 5)
    for desired, sessions in LARGE:
        if desired > asked.most_tasks:
            continue
        forget_services()
        began = time.process_time()
        result = simulate(service(desired), sessions=sessions)
        took_s = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        say(f"{desired:,}", f"{sessions:,}", f"{result.calls:,}", f"{took_s:.1f}", peak)


if __name__ == "__main__":
    main()
