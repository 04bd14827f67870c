"""A published experiment, played again in virtual time: one client, one sticky session in memory, one deployment.

A client writes and reads in turn, five seconds apart, and keeps its cookies; meanwhile a deployment is forced. Where
a request goes is decided by the core: the routing table of the node that gets it, cookie, algorithm. Only the
task that knows the session can answer it, unless sessions are stateless.

What is published of four runs: tasks, deregistration delay, the call until which the session lived, and how long that
was after the trigger; of one of them also the points of time of its last write and of the read that failed, and that
the calls up to the fiftieth failed from there on. A follow-up with stateless sessions gives its counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from rollproof.core import events as e
from rollproof.core.decide import routing_table
from rollproof.core.routing import choose, node_view, stuck_target
from rollproof.core.settings import Settings, Stickiness
from rollproof.core.stickiness import target_key
from rollproof.core.timing import Timing
from tests.core.play import Play, settings

GAP_S = 5.067
"""From the last write of run 4 to the read that failed: 15:20:12.067393 to 15:20:17.134593. The client's pace."""

CALLS = 50
WRITE, READ = "set_session_value", "get_session_state"


@dataclass(frozen=True)
class PublishedRun:
    """`after_s` is how long the session lived after the trigger, give or take `blur_s`; None where nothing is said.

    `delay_s` is None where it is only said that it was changed. All runs: lb_cookie, one day.
    """

    name: str
    tasks: int
    delay_s: float | None
    failed_call: int
    after_s: float | None
    blur_s: float = 0.0

    @property
    def failed_at(self) -> float:
        """Of the read of that call, counted from the client's start."""
        return (2 * self.failed_call - 1) * GAP_S


RUNS = (
    PublishedRun("1", 1, 300.0, 47, 61.0, 1.0),
    PublishedRun("2", 1, None, 48, 240.0, 15.0),  # "about 4 min"
    PublishedRun("3", 2, 300.0, 39, 210.0, 15.0),  # "about 3.5 min"
    PublishedRun("4", 2, 300.0, 39, None),
)
RUN_4_ANSWERED = 2 * 39 - 1
"""Its calls up to the write of call 39; the read 39 and both halves of the calls 40 to 50 were not found."""

FOLLOW_UP_CALLS, FOLLOW_UP_GAP_S = 70, 2.0
FOLLOW_UP = {"answered": 140, "not found": 0, "tasks": 2}
"""Sessions stateless, state in Redis. Its summary has 141 answers: 70 writes, 70 reads, and one before [inferred]."""


@dataclass(frozen=True)
class Answer:
    """`at` is counted from the client's start. `task` is the one that answered; "" for a 503."""

    at: float
    call: int
    tool: str
    status: int
    task: str


@dataclass(frozen=True)
class Replayed:
    triggered_at: float
    answers: tuple[Answer, ...]

    @property
    def first_failure(self) -> Answer | None:
        return next((answer for answer in self.answers if answer.status != 200), None)

    @property
    def failed_after_s(self) -> float | None:
        return None if self.first_failure is None else self.first_failure.at - self.triggered_at

    @property
    def is_split(self) -> bool:
        """The write of a call was answered, and its read was not."""
        return self.first_failure is not None and self.first_failure.tool == READ

    def count(self, status: int) -> int:
        return sum(answer.status == status for answer in self.answers)

    @property
    def tasks(self) -> list[str]:
        """Those that answered with success, in order of their first answer."""
        return list(dict.fromkeys(answer.task for answer in self.answers if answer.status == 200))


def replay(
    rollout: Settings,
    triggered_at: float,
    *,
    timing: Timing | None = None,
    calls: int = CALLS,
    gap_s: float = GAP_S,
    is_stateless: bool = False,
    seed: int = 7,
) -> Replayed:
    """The client's calls through a deployment that is forced `triggered_at` seconds after its start."""
    play = Play(rollout, timing or Timing(), seed, tells_story=False).run_until_steady().run(8).mark()
    play.tell(e.ServiceUpdateRequested(force_new_deployment=True), triggered_at)
    client, home, answers = _Client(play, Random(seed)), "", list[Answer]()
    for number in range(2 * calls):
        play.run(play.zero + number * gap_s - play.now)
        task = client.request()
        home = home or task
        status = 503 if not task else 200 if is_stateless or task == home else 404
        answers.append(Answer(play.now - play.zero, number // 2 + 1, (WRITE, READ)[number % 2], status, task))
    return Replayed(triggered_at, tuple(answers))


def rollout_of(run: PublishedRun, *, overrides: bool, delay_s: float = 300.0) -> Settings:
    """Its settings; `delay_s` where its own is not published."""
    delay = delay_s if run.delay_s is None else run.delay_s
    return settings(
        desired=run.tasks, delay_s=delay, stickiness=Stickiness(enabled=True), sticky_overrides_drain=overrides
    )


def trigger_of(run: PublishedRun) -> float:
    """When the deployment was forced, counted from the client's start; for run 4 as in run 3, which failed alike."""
    after_s = run.after_s if run.after_s is not None else RUNS[2].after_s
    assert after_s is not None
    return run.failed_at - after_s


class _Client:
    """A client with a cookie jar: what it last heard from the balancer leads its next request."""

    def __init__(self, play: Play, random: Random) -> None:
        self._play, self._random = play, random
        self._cookie, self._turn = "", 0

    def request(self) -> str:
        """The task that gets it, "" where there is none to take it."""
        world, now = self._play.world, self._play.now
        table = routing_table(world, now, 1)
        view = node_view(table, self._random.choice(table.nodes))
        target = stuck_target(view, target_key(self._cookie)) if self._cookie else None
        if target is None:
            target = choose(view, turn=self._turn, outstanding={}, draw=self._random.random())
            self._turn += 1
        if target is None:
            return ""
        self._cookie = target.id
        return world.targets[target.id].task_id
