"""Each fault in a whole rehearsal: what it does to sessions in memory, and to a server that any task can serve for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.errors import UsageError
from rollproof.disruptions import Disruption
from rollproof.history import Record, read_history
from rollproof.rehearsal import Rehearsal
from rollproof.sim.faults.plan import parse_faults
from rollproof.sim_rehearsal import rehearse_in_process
from rollproof.verdict.model import Outcome, SessionOutcome, Verdict
from tests.sim.test_rehearsal import FEW, digest, of_sample

pytestmark = pytest.mark.e2e

LOST, DEGRADED, SURVIVED = SessionOutcome.LOST, SessionOutcome.DEGRADED, SessionOutcome.SURVIVED


@dataclass(frozen=True)
class Played:
    verdict: Verdict
    records: Sequence[Record]

    def of(self, kind: str, **fields: Any) -> list[Record]:
        return [r for r in self.records if r["kind"] == kind and fields.items() <= r.items()]

    @property
    def fates(self) -> set[SessionOutcome]:
        return {session.outcome for session in self.verdict.sessions}

    @property
    def causes(self) -> str:
        return " | ".join(session.cause for session in self.verdict.sessions if session.cause)

    @property
    def struck_at(self) -> float:
        return float(self.of("fault")[0]["t"])


Rehearse = Callable[..., Played]


@pytest.fixture
def rehearse(tmp_path: Path) -> Rehearse:
    def run(strategy: str, *faults: str, deploys: bool = False, **changes: Any) -> Played:
        changes = {"probe": replace(FEW, sessions=4), "delay_s": 30.0, **changes}
        disruption = Disruption.ROLLING if deploys else Disruption.NONE
        rehearsal = of_sample(strategy, tmp_path, disruption=disruption, faults=parse_faults(faults), **changes)
        done = rehearse_in_process(rehearsal)
        return Played(done.verdict, list(read_history(done.run_dir / "history.jsonl")))

    return run


@pytest.mark.fidelity("ECS-TASK-16", source="O2", mark="observed")
def test_a_crash_takes_the_sessions_of_its_task_only(rehearse: Rehearse) -> None:
    memory = rehearse("memory", "crash at warmed-up + 10 s")
    assert memory.fates == {LOST, SURVIVED}
    assert "was killed at" in memory.causes
    assert rehearse("stateless", "crash at warmed-up + 10 s").verdict.outcome is Outcome.PASS


@pytest.mark.parametrize("fault", ["hang", "network-cut"])
def test_a_task_that_answers_no_more_turns_unhealthy_and_is_replaced(rehearse: Rehearse, fault: str) -> None:
    memory = rehearse("memory", f"{fault} at warmed-up + 10 s")
    [struck] = memory.of("fault")
    [unhealthy] = memory.of("target", state="unhealthy")
    check = {r["name"]: r["value"] for r in memory.of("setting")}
    interval_s, timeout_s = (check[f"target_group.health_check.{x}_s"] for x in ("interval", "timeout"))
    threshold = check["target_group.health_check.unhealthy_threshold"]
    assert unhealthy["task_id"] == struck["target"]
    assert unhealthy["reason"] == "Target.Timeout"
    waited_s = unhealthy["t"] - struck["t"]
    assert (threshold - 1) * interval_s + timeout_s <= waited_s <= threshold * interval_s + timeout_s + 0.1
    said = " ".join(r["message"] for r in memory.of("service_event"))
    assert "ECS replaced 1 tasks due to an unhealthy status" in said
    assert memory.fates == {LOST, SURVIVED}
    assert ("hung at" if fault == "hang" else "was cut at") in memory.causes
    stateless = rehearse("stateless", f"{fault} at warmed-up + 10 s")
    assert stateless.fates == {DEGRADED, SURVIVED}


def test_what_reaches_a_task_that_is_cut_off_gets_504(rehearse: Rehearse) -> None:
    """A new connection after the ALB's ten seconds, a request under way at its idle timeout."""
    patient = replace(FEW, sessions=4, request_timeout_s=100.0)
    played = rehearse("stateless", "network-cut of all at warmed-up + 10 s for 75 s", probe=patient)
    failed = [r for r in played.of("request") if r["elb_status_code"] == "504" and r["t"] > played.struck_at]
    assert failed
    waits = {round(r["t"] - played.struck_at) for r in failed}
    assert min(waits) >= 10
    assert "was cut at" in played.causes


def test_a_hang_that_ends_before_the_threshold_costs_nobody_a_task(rehearse: Rehearse) -> None:
    played = rehearse("memory", "hang at warmed-up + 10 s for 8 s")
    assert played.verdict.outcome is Outcome.PASS
    assert played.fates == {SURVIVED}
    assert played.of("target", state="unhealthy") == []
    assert played.of("mark", name="fault-ended")[0]["t"] == pytest.approx(played.struck_at + 8, abs=0.01)
    assert max(r["latency_s"] for r in played.of("call")) > 1  # somebody has waited for it


@pytest.mark.fidelity("ALB-HEALTH-18", source="ALB-UG/target-group-health-checks", mark="doc")
def test_health_checks_that_flap_below_the_threshold_are_nothing_and_at_it_replace_the_task(rehearse: Rehearse) -> None:
    below = rehearse("memory", "health-flap at warmed-up for 200 s")
    assert below.of("target", state="unhealthy") == []
    assert below.verdict.outcome is Outcome.PASS
    threshold = next(r["value"] for r in below.of("setting", name="target_group.health_check.unhealthy_threshold"))
    at_it = rehearse("memory", f"health-flap failures={threshold} at warmed-up for 200 s")
    assert at_it.of("target", state="unhealthy")[0]["reason"] == "Target.ResponseCodeMismatch"
    assert at_it.fates == {LOST, SURVIVED}
    assert "failed health checks now and then" in at_it.causes


def test_slow_responses_are_waited_for_until_the_health_check_gives_up(rehearse: Rehearse) -> None:
    slow = rehearse("memory", "slow-responses delay_s=2 at warmed-up for 60 s")
    assert slow.fates == {SURVIVED}
    assert max(r["latency_s"] for r in slow.of("call")) > 2
    slower = rehearse("memory", "slow-responses delay_s=8 at warmed-up for 120 s")
    assert LOST in slower.fates
    assert slower.of("target", state="unhealthy")[0]["reason"] == "Target.Timeout"


def test_a_slow_start_delays_the_new_tasks_by_as_much(rehearse: Rehearse) -> None:
    plain, slow = (
        rehearse("stateless", *faults, deploys=True) for faults in ([], ["slow-start extra_s=15 at deployment started"])
    )
    healthy = [max(r["t"] for r in x.of("target", state="healthy")) for x in (plain, slow)]
    assert healthy[1] - healthy[0] >= 5
    assert slow.verdict.outcome is Outcome.PASS


def test_a_wall_clock_that_steps_is_no_matter_to_sessions_in_memory(rehearse: Rehearse) -> None:
    played = rehearse("memory", "clock-step of all by_s=7200 at warmed-up + 10 s")
    assert played.verdict.outcome is Outcome.PASS
    assert played.fates == {SURVIVED}


@pytest.mark.fidelity("ECS-TASK-15", source="WN-2023-02-13; CR#2673", mark="doc")
def test_spot_takes_a_task_with_two_minutes_warning(rehearse: Rehearse) -> None:
    played = rehearse("memory", "spot-interruption at warmed-up + 10 s", delay_s=300.0)
    assert "Spot took the capacity" in played.causes
    [signalled] = played.of("task", signal="SIGTERM")
    stop_timeout_s = played.of("setting", name="task_definition.stop_timeout_s")[0]["value"]
    assert (
        0 <= signalled["t"] - played.struck_at - (120 - stop_timeout_s) <= 10
    )  # at most a pass of the scheduler later
    assert played.of("task", stopped_reason="Your Spot Task was interrupted.", stop_code="SpotInterruption")
    assert all(check.outcome is not Outcome.FAIL for check in played.verdict.checks)
    assert rehearse("stateless", "spot-interruption at warmed-up + 10 s").verdict.outcome is Outcome.PASS


def test_scale_in_takes_half_of_the_tasks(rehearse: Rehearse) -> None:
    played = rehearse("memory", "scale-in at warmed-up + 10 s")
    assert played.fates == {LOST, SURVIVED}
    assert "the service was scaled in at" in played.causes


@pytest.mark.fidelity(
    "ECS-DEPLOY-49", source="API-ECS CreateServiceRequest; ECS-DG-now/track-service-rebalancing; O11", mark="doc"
)
def test_a_zone_that_comes_back_is_filled_and_a_task_elsewhere_goes(rehearse: Rehearse) -> None:
    places_none = "az-rebalance loses_tasks=no at deployment started until deployment completed"
    played = rehearse("memory", places_none, deploys=True)
    said = [r["message"].partition(") ")[2] for r in played.of("service_event") if "AZ" in r["message"]]
    assert said[0].startswith("is not AZ balanced with 2 tasks in us-east-1a, 0 tasks in us-east-1b.")
    assert "to AZ Rebalance" in said[1]
    assert said[-1] == "is AZ balanced with 1 tasks in us-east-1a, 1 tasks in us-east-1b."
    lost = rehearse("memory", "az-rebalance at warmed-up + 10 s for 100 s")
    assert "an Availability Zone was away" in lost.causes


@pytest.mark.fidelity("ALB-DRAIN-12", source="LBC#2366", mark="inferred")
def test_one_node_goes_on_sending_to_a_draining_target(rehearse: Rehearse) -> None:
    probe = replace(FEW, sessions=6)
    played = rehearse("memory", "node-lag of node-1 lag_s=120 at warmed-up", deploys=True, delay_s=200.0, probe=probe)
    learned = {
        node: max(r["t"] for r in played.of("node", node=node, state="draining")) for node in ("node-0", "node-1")
    }
    assert learned["node-1"] - learned["node-0"] > 100
    old = {r["target_id"] for r in played.of("target", state="draining")}
    late = [r for r in played.of("request") if r["target"] in old and learned["node-0"] + 15 < r["t"]]
    assert late
    assert all(check.outcome is not Outcome.FAIL for check in played.verdict.checks)


def test_an_orchestrator_that_is_killed_is_not_missed_for_long(rehearse: Rehearse) -> None:
    played = rehearse("stateless", "orchestrator-crash at target draining + 5 s for 20 s", deploys=True)
    assert played.verdict.outcome is Outcome.PASS
    assert [r["event"] for r in played.of("orchestrator")] == ["started", "adopted", "stopped"]
    began, over = played.struck_at, played.of("mark", name="fault-ended")[0]["t"]
    assert not [r for r in played.records if began < r["t"] < over and r["kind"] in ("task", "target", "service_event")]
    lines = played.of("request")
    assert len({(r["trace_id"], r["request"]) for r in lines}) == len(lines)


def test_redis_that_is_away_slow_or_empty(rehearse: Rehearse) -> None:
    away = rehearse("stateless", "redis-down at warmed-up + 10 s for 30 s")
    assert (away.verdict.outcome, away.fates) == (Outcome.PASS, {DEGRADED})
    assert "Redis went away at" in away.causes
    slow = rehearse("stateless", "redis-slow delay_s=0.2 at warmed-up + 10 s for 30 s")
    assert slow.fates == {SURVIVED}
    assert max(r["latency_s"] for r in slow.of("call")) > 0.2
    empty = rehearse("stateless", "redis-flush at warmed-up + 10 s")
    assert empty.fates == {LOST}
    assert "Redis forgot all it held at" in empty.causes


def test_a_client_without_its_cookies_is_lost_where_a_task_remembers_it(rehearse: Rehearse) -> None:
    memory = rehearse("memory", "cookie-loss of all at warmed-up + 10 s")
    assert LOST in memory.fates
    assert "lost its cookies at" in memory.causes
    assert rehearse("stateless", "cookie-loss of all at warmed-up + 10 s").fates == {SURVIVED}


def test_a_client_that_dies_hurts_nobody_and_comes_back_as_another(rehearse: Rehearse) -> None:
    played = rehearse("memory", "client-crash of s2 at warmed-up + 10 s for 20 s")
    assert played.fates == {SURVIVED}
    assert {x.session for x in played.verdict.sessions} == {"s1", "s2", "s3", "s4", "s2-2"}
    assert max(r["t"] for r in played.of("call", session="s2")) <= played.struck_at
    gone = rehearse("memory", "client-crash of s2 reopens=no at warmed-up + 10 s for 20 s")
    assert len(gone.verdict.sessions) == 4


def test_faults_that_were_not_played_prove_nothing(rehearse: Rehearse) -> None:
    played = rehearse("memory", "hang at target draining + 3 s")
    assert played.verdict.outcome is Outcome.UNKNOWN
    assert (
        "a fault was not played, for its moment did not come: hang at target draining + 3 s" in played.verdict.reasons
    )


def test_a_fault_that_hits_nobody_ends_the_rehearsal_with_its_reason(rehearse: Rehearse) -> None:
    with pytest.raises(UsageError, match="of s9: no such session"):
        rehearse("memory", "cookie-loss of s9 at warmed-up")
    with pytest.raises(UsageError, match="redis-slow: this rehearsal has no Redis"):
        rehearse("memory", "redis-slow at warmed-up")
    with pytest.raises(UsageError, match="nothing happens"):
        rehearse("memory")


def test_the_same_seed_and_faults_are_the_same_history_and_another_seed_is_another(tmp_path: Path) -> None:
    faults = parse_faults(
        [
            "hang of random at deployment started + 5 s for 40 s",
            "node-lag at warmed-up",
            "cookie-loss at target healthy",
            "client-crash at target draining for 15 s",
            "orchestrator-crash at target draining + 8 s for 9 s",
            "slow-responses of random delay_s=1 at task RUNNING for 30 s",
        ]
    )
    rehearsal: Rehearsal = of_sample("stateless", tmp_path, delay_s=30.0, faults=faults)
    histories = {digest(rehearse_in_process(rehearsal)) for _ in range(3)}
    assert len(histories) == 1
    assert digest(rehearse_in_process(replace(rehearsal, seed=2))) not in histories
