"""One old task replaced at 100/200, step by step: the offset of each step beside the one observed at AWS.

The bounds are what was measured of real services, and how far the figures spread. A step out of them shows the
whole table.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.core.play import Behaviour, Play, settings

DELAY_S, STOP_TIMEOUT_S = 300.0, 30.0


@dataclass(frozen=True)
class Step:
    """`name` as the story tells it happens `low`..`high` seconds after the step `after`."""

    name: str
    after: str
    low: float
    high: float
    source: str


STARTED, REGISTERED = "# has started 1 tasks: t2.", "# registered 1 targets"
STOPPED, DRAINING = "# has stopped 1 running tasks: t1.", "# taskSet A has begun draining connections on 1 tasks."
UPDATE = "UpdateService"
STEPS = (
    Step(STARTED, UPDATE, 10.0, 15.0, "O7"),
    Step("t2 PENDING", STARTED, 4.1, 5.0, "O12, ecs_cwe_events: the ENI"),
    Step("t2 ACTIVATING", STARTED, 17.0, 21.0, "O12, ecs_cwe_events: the pull"),
    Step("t2 ACTIVATING", UPDATE, 20.0, 40.0, "O12"),
    Step(REGISTERED, STARTED, 18.0, 60.0, "O1-O7"),
    Step("target of t2 healthy", REGISTERED, 1.6, 3.4, "O2, nine runs"),
    Step("t2 RUNNING", REGISTERED, 8.0, 10.0, "O3"),
    Step(STOPPED, REGISTERED, 41.0, 72.0, "O1, O4-O7"),
    Step("t1 DEACTIVATING", STOPPED, 0.0, 0.0, "O10: at once"),
    Step("# deregistered 1 targets", STOPPED, 9.0, 10.3, "O1-O5, O13"),
    Step(DRAINING, STOPPED, 9.0, 10.3, "O1-O5, O13"),
    Step("target of t1 draining", DRAINING, 0.1, 1.4, "O2"),
    Step("node-0 holds t1 draining", "target of t1 draining", 9.0, 20.0, "LBC#2366, LBC#1719"),
    Step("node-1 holds t1 draining", "target of t1 draining", 9.0, 20.0, "LBC#2366, LBC#1719"),
    Step("target of t1 unused", "target of t1 draining", DELAY_S - 1.0, DELAY_S + 1.5, "ALB-UG, O2"),
    Step("t1 SIGTERM", "target of t1 unused", 0.0, 10.0, "O1: the next pass"),
    Step("t1 SIGTERM", DRAINING, DELAY_S, DELAY_S + 20.0, "O1: 39.4 s at a delay of 30"),
    Step("t1 STOPPING", "t1 SIGTERM", 0.0, 0.0, "ECS-DG/task-lifecycle"),
    Step("t1 SIGKILL", "t1 SIGTERM", STOP_TIMEOUT_S, STOP_TIMEOUT_S, "API-ECS stopTimeout"),
    Step("t1 exited with 137", "t1 SIGKILL", 0.0, 1.0, "O12"),
    Step("t1 STOPPED", "t1 exited with 137", 15.0, 60.0, "O10"),
    Step("# B deployment completed.", "t1 STOPPED", 0.0, 10.0, "O1, O6"),
    Step("# has reached a steady state.", "# B deployment completed.", 0.001, 0.001, "O6, O13"),
)


def measured() -> dict[str, float]:
    """Step -> seconds from UpdateService, in the order in which they happened."""
    chosen = settings(desired=1, delay_s=DELAY_S, stop_timeout_s=STOP_TIMEOUT_S)
    play = Play(chosen, behaviours={"mcp-server:1": Behaviour(exits_on_sigterm_after_s=None)})
    play.run_until_steady().run(30).mark().deploy(2, Behaviour()).run_until_steady()
    return {UPDATE: 0.0} | {text: at - play.zero for at, text in play.told() if at > play.zero}


def table(found: dict[str, float]) -> str:
    lines = [f"{'step':58} {'at':>8} {'offset':>8}   expected"]
    for step in STEPS:
        offset = found[step.name] - found[step.after]
        fits = "" if step.low - 1e-6 <= offset <= step.high + 1e-6 else "  <-- out of bounds"
        lines.append(
            f"{step.name:58} {found[step.name]:8.3f} {offset:8.3f}   {step.low}..{step.high} {step.source}{fits}"
        )
    return "\n".join(lines)


@pytest.mark.fidelity("TIMELINE-2", "TIMELINE-3", "TIMELINE-4", "TIMELINE-5", "TIMELINE-6", "TIMELINE-7")
@pytest.mark.fidelity("TIMELINE-8", "TIMELINE-9", "TIMELINE-10", "TIMELINE-11", "TIMELINE-12", "TIMELINE-13")
@pytest.mark.fidelity("TIMELINE-14", "TIMELINE-15", "ECS-TASK-37", "ECS-TASK-38", "ECS-TASK-39", "TRAP-1", "TRAP-3")
@pytest.mark.fidelity("TRAP-10", "TRAP-13")
def test_every_step_has_its_observed_offset() -> None:
    found = measured()
    shown = table(found)
    assert "out of bounds" not in shown, f"\n{shown}"


@pytest.mark.fidelity("ECS-EVENT-30", source="O1", mark="observed")
def test_steps_come_in_the_observed_order() -> None:
    found = measured()
    names = [step.name for step in STEPS if not step.name.startswith("node")]  # either node may learn first
    assert names == sorted(names, key=lambda x: found[x])


@pytest.mark.fidelity("TIMELINE-16", source="O1-O7", mark="inferred")
def test_reactions_come_in_passes_ten_seconds_apart() -> None:
    said = [at for name, at in measured().items() if name.startswith("# ")]
    assert len(said) == 7
    passes = [(at - said[0]) / 10.0 for at in said]
    assert passes == pytest.approx([round(x) for x in passes], abs=0.001)


@pytest.mark.fidelity("TRAP-20", source="O6", mark="observed")
def test_completion_comes_minutes_after_the_clients_have_moved() -> None:
    found = measured()
    moved = max(at for name, at in found.items() if name.startswith("node-") and name.endswith("holds t1 draining"))
    assert found["# B deployment completed."] - moved > DELAY_S
