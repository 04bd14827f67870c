"""What DescribeServices, DescribeTasks and DescribeTargetHealth would say."""

from __future__ import annotations

import pytest

from rollproof.core.describe import describe
from tests.core.play import Play
from tests.core.test_service_breaker import NO_IMAGE, ROLLBACK
from tests.core.test_service_replacement import SICK, fall_ill
from tests.core.test_service_rolling import steady


def told(play: Play) -> dict[str, object]:
    return describe(play.world, play.now)


@pytest.mark.fidelity("ECS-EVENT-1", "ALB-HEALTH-3")
def test_steady_service() -> None:
    play = steady()
    facts = describe(play.world, play.now)
    assert (facts["service"], facts["cluster"], facts["is_steady"]) == ("mcp-service", "mcp-cluster", True)
    assert (facts["desired_count"], facts["running_count"], facts["pending_count"]) == (2, 2, 0)
    [deployment] = facts["deployments"]
    assert (deployment["status"], deployment["rollout_state"]) == ("PRIMARY", "COMPLETED")
    assert (deployment["desired"], deployment["running"], deployment["pending"]) == (2, 2, 0)
    assert deployment["rollout_state_reason"] == f"ECS deployment {deployment['id']} completed."
    assert facts["events"][0]["message"].endswith("has reached a steady state.")
    assert [x["state"] for x in facts["targets"]] == ["healthy", "healthy"]
    assert "reason" not in facts["targets"][0]


@pytest.mark.fidelity("ECS-TASK-4", "ECS-TASK-5")
def test_draining_task_is_not_counted_as_running() -> None:
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(20)
    assert [describe(play.world, play.now)[x] for x in ("running_count", "pending_count")] == [1, 1]
    play.run(80)
    facts = describe(play.world, play.now)
    assert (facts["running_count"], facts["pending_count"]) == (1, 0)
    assert [(x["status"], x["running"]) for x in facts["deployments"]] == [("PRIMARY", 1), ("ACTIVE", 0)]
    old = next(x for x in facts["tasks"] if x["known"] == "DEACTIVATING")
    assert (old["desired"], old["stop_code"].value) == ("STOPPED", "ServiceSchedulerInitiated")
    assert "stopping_at" not in old


@pytest.mark.fidelity("ALB-HEALTH-13", source="API-ELB TargetHealthDescription", mark="doc")
def test_draining_target_says_until_when_and_what_each_node_believes() -> None:
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(95)
    target = next(x for x in describe(play.world, play.now)["targets"] if x["state"] == "draining")
    assert target["draining_until"] == pytest.approx(play.zero + 92.0 + 0.7 + 300.0)
    assert target["reason"] == "Target.DeregistrationInProgress"
    assert target["nodes"] == {"node-0": "healthy", "node-1": "healthy"}


def test_unhealthy_target_says_why() -> None:
    play = fall_ill(steady(), "t1", SICK).run(45)
    target = next(x for x in describe(play.world, play.now)["targets"] if x["state"] == "unhealthy")
    assert (target["reason"], target["description"]) == (
        "Target.ResponseCodeMismatch",
        "Health checks failed with these codes: [503]",
    )


def test_task_tells_only_what_has_happened_to_it() -> None:
    play = Play().run(13)
    task = describe(play.world, play.now)["tasks"][0]
    assert set(task) == {
        "task_id",
        "known",
        "desired",
        "deployment",
        "task_definition",
        "availability_zone",
        "created_at",
    }


@pytest.mark.fidelity("ECS-DEPLOY-39", source="API-ECS DescribeServiceDeployments", mark="doc")
def test_circuit_breaker_says_what_it_is_doing() -> None:
    def says(play: Play) -> list[tuple[str, str, int]]:
        return [(x["status"], x["circuit_breaker"], x["failed_tasks"]) for x in told(play)["deployments"]]  # type: ignore[attr-defined]

    play = steady(circuit_breaker=ROLLBACK)
    assert says(play) == [("PRIMARY", "MONITORING_COMPLETE", 0)]
    play.deploy(2, NO_IMAGE).run(40)
    assert says(play) == [("PRIMARY", "MONITORING", 2), ("ACTIVE", "MONITORING_COMPLETE", 0)]
    assert [x["failure_threshold"] for x in told(play)["deployments"]] == [3, 3]  # type: ignore[attr-defined]
    play.run(35)
    assert says(play) == [("PRIMARY", "DISABLED", 0), ("ACTIVE", "TRIGGERED", 4)]
    assert says(steady()) == [("PRIMARY", "DISABLED", 0)]
