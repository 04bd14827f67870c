"""Do two runs tell the same story? The same verdict, the same order of events and states, offsets within a tick.

Judged: the outcome, how many sessions were lost (after a crash: whether any were) and by what signatures; the service
events (event_order says which order is guaranteed and which is a race); the paths of tasks, targets and deployments
by role (run_story); the offsets (offsets). Shown and not judged, because chance decides it: whether a session survived
or degraded (did a call of it just meet the crash?), the signatures of sessions that were not lost, findings, and a
check that one of the runs gave no occasion to test. After a crash, which sessions sat on the task that died is chance,
too, and even a lost one may have failed first in one way or another (a 502, a broken stream).

A steady state is said on a tick. What clocks of their own do near it may come just before or just after: a path
that ends earlier in one run is the same if that run went on to where the other one was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set

from rollproof.verdict.comparison_model import Comparison, Difference, DifferenceKind, RunFacts
from rollproof.verdict.event_order import order_differences
from rollproof.verdict.model import Outcome, SessionOutcome, SessionVerdict, Verdict
from rollproof.verdict.offsets import event_offsets, pace_of, step_offsets
from rollproof.verdict.records import History
from rollproof.verdict.rollout import Disruption, read_rollout
from rollproof.verdict.run_story import CUT_SHORT, FAILED_TASK, Path, Paths, RunStory, run_story
from rollproof.verdict.settings_apart import settings_apart
from rollproof.verdict.state import DefectKind
from rollproof.verdict.words import count

IDENTITY = ("stage", "balancer", "strategy", "disruption_name", "speed", "seed", "service.desired_count")
"""The settings that say which rehearsal a run was."""


def compare_runs(a: History, verdict_a: Verdict, b: History, verdict_b: Verdict) -> Comparison:
    """Pure and total: any two histories with their verdicts give a comparison, and never an exception."""
    facts_a, facts_b = _facts(a, verdict_a), _facts(b, verdict_b)
    unproved = _unproved(facts_a, verdict_a, "A") or _unproved(facts_b, verdict_b, "B")
    settings = tuple(settings_apart(a, b))
    if unproved:
        return Comparison(facts_a, facts_b, unproved=unproved, settings=settings)
    speeds, pace = (a.speed, b.speed), pace_of(a, b)
    offsets = (
        *event_offsets(facts_a.story, facts_b.story, speeds, pace),
        *step_offsets(verdict_a, verdict_b, pace),
    )
    differences = [
        *_verdict_differences(facts_a, facts_b, is_fault=verdict_a.disruption == Disruption.FAULT),
        *order_differences(facts_a.story, facts_b.story, speeds, pace),
    ]
    differences += _state_differences(facts_a.story, facts_b.story)
    differences += _step_differences(verdict_a, verdict_b)
    for offset in offsets:
        if not offset.is_within:
            text = f'"{offset.name}" after "{offset.after}": {offset.difference_s:.1f} {offset.unit} apart,'
            text += f" {offset.allowed_s:.1f} allowed"
            differences.append(Difference(DifferenceKind.OFFSETS, text, offset.t_a, offset.t_b))
    return Comparison(facts_a, facts_b, offsets, tuple(differences), settings=settings)


def _facts(history: History, verdict: Verdict) -> RunFacts:
    def signatures(sessions: Iterable[SessionVerdict]) -> tuple[str, ...]:
        return tuple(sorted({_signature(s.first_failure.signature) for s in sessions if s.first_failure}))

    lost = verdict.of(SessionOutcome.LOST)
    return RunFacts(
        outcome=verdict.outcome,
        why=verdict.why,
        sessions={outcome: len(verdict.of(outcome)) for outcome in SessionOutcome},
        signatures=signatures(verdict.sessions),
        lost_signatures=signatures(lost),
        first_lost_at=min((s.first_failure.t for s in lost if s.first_failure), default=None),
        findings=tuple(finding.id for finding in verdict.findings),
        checks={check.id: check.outcome for check in verdict.checks},
        settings={name: history.settings[name] for name in IDENTITY if name in history.settings},
        story=run_story(history, read_rollout(history)),
    )


def _signature(text: str) -> str:
    """Which state was wrong, and not what was missing of it."""
    return next((kind.value for kind in DefectKind if text.startswith(f"{kind}:")), text)


def _unproved(facts: RunFacts, verdict: Verdict, where: str) -> str:
    if facts.story.began_at is None:
        return f"nothing was done to the service in {where}"
    if not verdict.replaced_tasks and not facts.story.has_failed:
        return f"nothing was replaced in {where}"
    return ""


def _verdict_differences(a: RunFacts, b: RunFacts, *, is_fault: bool) -> Iterator[Difference]:
    kind, points = DifferenceKind.VERDICT, (a.first_lost_at, b.first_lost_at)
    if a.outcome is not b.outcome:
        yield Difference(kind, f"{a.outcome.value} in A, {b.outcome.value} in B", *points)
    if bool(a.lost) != bool(b.lost) or (a.lost != b.lost and not is_fault):
        yield Difference(kind, f"{count(a.lost, 'session')} lost in A, {b.lost} in B", *points)
    if a.lost and b.lost and a.lost_signatures != b.lost_signatures and not is_fault:
        told = (", ".join(facts.lost_signatures) or "no failed call" for facts in (a, b))
        yield Difference(kind, "lost sessions first met {} in A, {} in B".format(*told), *points)
    for name in sorted({*a.checks, *b.checks}):
        outcomes = [facts.checks.get(name, Outcome.UNKNOWN) for facts in (a, b)]
        if Outcome.FAIL in outcomes and outcomes[0] is not outcomes[1]:
            yield Difference(kind, f"check {name}: {outcomes[0].value} in A, {outcomes[1].value} in B")


def _step_differences(a: Verdict, b: Verdict) -> Iterator[Difference]:
    """Steps of the reference timeline that only one run has, e.g. a SIGKILL."""
    others = {step.name: step for step in b.steps}
    for step in a.steps:
        other = others.get(step.name)
        if other is None or bool(step.t) == bool(other.t):
            continue
        present, where = (step, "A") if step.t else (other, "B")
        points = (present.t[0], None) if where == "A" else (None, present.t[0])
        yield Difference(DifferenceKind.TASKS, f'the step "{present.name}" is only in {where}', *points)


def _path_differences(kind: DifferenceKind, a: Paths, b: Paths, skipped: Set[str]) -> Iterator[Difference]:
    """Paths of one role without a partner in the other run. Of failed tasks every way counts once."""
    for role in sorted({*a, *b} - skipped):
        ours, theirs = a.get(role, ()), b.get(role, ())
        if role == FAILED_TASK:
            ours, theirs = _each_once(ours), _each_once(theirs)
        ours, theirs = _without_partner(ours, theirs)
        for paths, where in ((ours, "A"), (theirs, "B")):
            for states, number in Counter(path.states for path in paths).items():
                at = next(path.t for path in paths if path.states == states)
                many = f" ({number} of them)" if number > 1 else ""
                text = f"only in {where}: {role} {' > '.join(states)}{many}"
                yield Difference(kind, text, *((at, None) if where == "A" else (None, at)))


def _state_differences(a: RunStory, b: RunStory) -> Iterator[Difference]:
    """A process that exits at its start may never have had a target."""
    by_chance = {CUT_SHORT, FAILED_TASK} if a.exits_at_start and b.exits_at_start else {CUT_SHORT}
    yield from _path_differences(DifferenceKind.TASKS, a.tasks, b.tasks, {CUT_SHORT})
    yield from _path_differences(DifferenceKind.TARGETS, a.targets, b.targets, by_chance)
    yield from _path_differences(DifferenceKind.DEPLOYMENTS, a.deployments, b.deployments, set())


def _each_once(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple({path.states: path for path in paths}.values())


def _without_partner(ours: Sequence[Path], theirs: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """What is left when paths have been paired: first those of one whole life, then those up to the steady state."""
    left, right = list(ours), list(theirs)
    for is_alike in (_is_one_life, _is_equal, _is_cut_elsewhere):
        for path in tuple(left):
            partner = next((other for other in right if is_alike(path, other)), None)
            if partner is not None:
                left.remove(path)
                right.remove(partner)
    return tuple(left), tuple(right)


def _is_one_life(a: Path, b: Path) -> bool:
    return (*a.states, *a.beyond) == (*b.states, *b.beyond)


def _is_equal(a: Path, b: Path) -> bool:
    return a.states == b.states


def _is_cut_elsewhere(a: Path, b: Path) -> bool:
    """One ends at the steady state that the other one went beyond; or the run did while something still drained."""
    shorter, longer = sorted((a, b), key=lambda path: len(path.states))
    seen, whole = (*shorter.states, *shorter.beyond), (*longer.states, *longer.beyond)
    is_under_way = seen[-1:] in (("draining",), ("DEACTIVATING",)) and whole[: len(seen)] == seen
    return seen[: len(longer.states)] == longer.states or is_under_way
