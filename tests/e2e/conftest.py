"""Whole runs are dear: the ones that several tests look at are made once, two at a time, in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.e2e.place import FAST, FEW, PATIENT, QUICK, TINY, Done, Place, a_place

RESILIENT = (
    *("--strategy", "resilient", "--platform", "fargate-no-sticky"),
    *(
        "--era",
        "both",
        "--cookies",
        "none",
        "--activities",
        "all",
        "--sessions",
        "20",
        "--slow-every",
        "4",
        "--slow",
        "1",
    ),
)

RUNS = {
    "sample": (*FAST, *PATIENT, "--sessions", "20", "--delay", "0.5", "--slow", "1"),
    "memory": (*FAST, *PATIENT, *FEW, "--strategy", "memory"),
    "activities": (*FAST, *PATIENT, *FEW, "--strategy", "memory", "--era", "both", "--activities", "all"),
    "resilient": (*FAST, *PATIENT, *RESILIENT),
    "resilient-crash": (*FAST, *PATIENT, *RESILIENT, "--disruption", "crash"),
    "nginx": (*FAST, *PATIENT, *FEW, "--balancer", "nginx"),
    "nginx-memory": (*FAST, *PATIENT, *FEW, "--balancer", "nginx", "--strategy", "memory"),
    "redis-state": (*FAST, *PATIENT, *FEW, "--strategy", "redis-state"),
    "bad-image": (*FAST, *FEW, "--disruption", "bad-image"),
    "crashing-image": (*FAST, *FEW, "--disruption", "crashing-image"),
    "crash": (*FAST, *PATIENT, *FEW, "--disruption", "crash"),
    "stop-task": (*QUICK, *FEW, "--disruption", "stop-task", "--command", TINY),
    "factory": (*FAST, *PATIENT, *FEW, "--app", "my_server:create_app"),
    "fastmcp": (*FAST, *PATIENT, *FEW, "--app", "my_server:mcp"),
    "json": (*QUICK, *FEW, "--command", TINY, "--json"),
    "stubborn": (*QUICK, *FEW, "--command", TINY, "--env", "IGNORE_SIGTERM=1", "--set", "stop_timeout_s=2"),
}
"""Rehearsals by name."""


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as place:
        yield place


@pytest.fixture(scope="session")
def rehearsed() -> Iterator[Callable[[str], Done]]:
    """The named rehearsal's outcome. They go on in the background from the first question on."""
    made: dict[str, Place] = {name: Place() for name in RUNS}
    with ThreadPoolExecutor(2) as pool:
        futures: dict[str, Future[Done]] = {
            name: pool.submit(made[name].run, "rehearse", *arguments) for name, arguments in RUNS.items()
        }

        def outcome(name: str) -> Done:
            done = futures[name].result()
            made[name].assert_nothing_left()
            return done

        yield outcome
        for future in futures.values():
            future.cancel()
        for place in made.values():
            place.clear()  # also ends what nobody has asked for
