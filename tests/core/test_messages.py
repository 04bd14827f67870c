"""The service events in ECS's own words, whole."""

from __future__ import annotations

import pytest

from rollproof.core import messages as m

ARN = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/n/1"


@pytest.mark.fidelity("ECS-DEPLOY-49", "ECS-EVENT-3", "ECS-EVENT-4", "ECS-EVENT-5", "ECS-EVENT-6", "ECS-EVENT-7")
@pytest.mark.fidelity("ECS-EVENT-8", "ECS-EVENT-9", "ECS-EVENT-10", "ECS-EVENT-11", "ECS-EVENT-12", "ECS-EVENT-13")
@pytest.mark.fidelity("ECS-EVENT-15", "ECS-EVENT-16", "ECS-EVENT-17", "ECS-EVENT-18", "ECS-EVENT-20")
@pytest.mark.fidelity("ECS-EVENT-22", "ECS-EVENT-23", "ECS-EVENT-24")
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (m.started("s", ["a"]), "(service s) has started 1 tasks: (task a)."),
        (m.started("s", ["a", "b"]), "(service s) has started 2 tasks: (task a) (task b)."),
        (
            m.started_for_unhealthy("s", ["a"]),
            "(service s) has started 1 tasks: (task a). Amazon ECS replaced 1 tasks due to an unhealthy status.",
        ),
        (m.stopped("s", ["a", "b"]), "(service s) has stopped 2 running tasks: (task a) (task b)."),
        (m.stopped_pending("s", 2), "(service s) stopped 2 pending tasks."),
        (m.registered("s", 1, ARN), f"(service s) registered 1 targets in (target-group {ARN})"),
        (m.deregistered("s", 1, ARN), f"(service s) deregistered 1 targets in (target-group {ARN})"),
        (m.draining("s", "ecs-svc/1", 1), "(service s, taskSet ecs-svc/1) has begun draining connections on 1 tasks."),
        (
            m.unhealthy_target("s", "a", 8080, ARN, "Request timed out"),
            f"(service s) (task a) (port 8080) is unhealthy in (target-group {ARN}) due to (reason Request timed out).",
        ),
        (m.unhealthy_container("s", "a"), "(service s) (task a) failed container health checks."),
        (m.completed("s", "ecs-svc/1"), "(service s) (deployment ecs-svc/1) deployment completed."),
        (m.steady("s"), "(service s) has reached a steady state."),
        (m.failed("s", "ecs-svc/1"), "(service s) (deployment ecs-svc/1) deployment failed: tasks failed to start."),
        (m.rolling_back("s", "ecs-svc/1"), "(service s) rolling back to deployment ecs-svc/1."),
        (m.impaired("s"), "(service s) is unable to consistently start tasks successfully."),
        (
            m.stuck("s"),
            "(service s) was unable to stop or start tasks during a deployment because of the service deployment "
            "configuration. Update the minimumHealthyPercent or maximumPercent value and try again.",
        ),
        (
            m.under_protection("s", "ecs-svc/1", 2),
            "(service s) was unable to reach steady state because (taskSet ecs-svc/1) was unable to scale in due to "
            "(reason 2 tasks under protection)",
        ),
        (
            m.unbalanced("s", {"a": 1, "b": 3, "c": 1}),
            "(service s) is not AZ balanced with 3 tasks in b, 1 tasks in a, 1 tasks in c. AZ Rebalancing in progress.",
        ),
        (m.started_to_rebalance("s", "b", ["a"]), "(service s) has started 1 tasks in b to AZ Rebalance: (task a)."),
        (m.balanced("s", {"a": 1, "b": 1}), "(service s) is AZ balanced with 1 tasks in a, 1 tasks in b."),
        (m.scaling_reason("ecs-svc/1"), "Scaling activity initiated by (deployment ecs-svc/1)"),
        (m.elb_health_reason(ARN), f"Task failed ELB health checks in (target-group {ARN})"),
    ],
    ids=lambda x: " ".join(x.split()[2:5]) if x.startswith("(service") else x[:20],
)
def test_message(message: str, expected: str) -> None:
    assert message == expected
