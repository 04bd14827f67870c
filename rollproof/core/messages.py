"""The service events in ECS's own words (docs/fidelity.md, ECS-EVENT: seen in O1-O13, most shapes in O11).

Always "1 tasks", "1 targets": ECS has no singular. Lines about target groups carry no final period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def _tasks(ids: Iterable[str]) -> str:
    return " ".join(f"(task {task_id})" for task_id in ids)


def started(service: str, ids: list[str]) -> str:
    return f"(service {service}) has started {len(ids)} tasks: {_tasks(ids)}."


def started_for_unhealthy(service: str, ids: list[str]) -> str:
    return f"{started(service, ids)} Amazon ECS replaced {len(ids)} tasks due to an unhealthy status."


def stopped(service: str, ids: list[str]) -> str:
    return f"(service {service}) has stopped {len(ids)} running tasks: {_tasks(ids)}."


def stopped_pending(service: str, count: int) -> str:
    return f"(service {service}) stopped {count} pending tasks."


def registered(service: str, count: int, target_group_arn: str) -> str:
    return f"(service {service}) registered {count} targets in (target-group {target_group_arn})"


def deregistered(service: str, count: int, target_group_arn: str) -> str:
    return f"(service {service}) deregistered {count} targets in (target-group {target_group_arn})"


def draining(service: str, deployment_id: str, count: int) -> str:
    return f"(service {service}, taskSet {deployment_id}) has begun draining connections on {count} tasks."


def unhealthy_target(service: str, task_id: str, port: int, target_group_arn: str, reason: str) -> str:
    return (
        f"(service {service}) (task {task_id}) (port {port}) is unhealthy in "
        f"(target-group {target_group_arn}) due to (reason {reason})."
    )


def unhealthy_container(service: str, task_id: str) -> str:
    return f"(service {service}) (task {task_id}) failed container health checks."


def completed(service: str, deployment_id: str) -> str:
    return f"(service {service}) (deployment {deployment_id}) deployment completed."


def steady(service: str) -> str:
    return f"(service {service}) has reached a steady state."


def failed(service: str, deployment_id: str) -> str:
    return f"(service {service}) (deployment {deployment_id}) deployment failed: tasks failed to start."


def rolling_back(service: str, deployment_id: str) -> str:
    return f"(service {service}) rolling back to deployment {deployment_id}."


def impaired(service: str) -> str:
    return f"(service {service}) is unable to consistently start tasks successfully."


def stuck(service: str) -> str:
    """ECS-DG/service-event-messages."""
    return (
        f"(service {service}) was unable to stop or start tasks during a deployment because of the service "
        "deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again."
    )


def under_protection(service: str, deployment_id: str, count: int) -> str:
    return (
        f"(service {service}) was unable to reach steady state because (taskSet {deployment_id}) "
        f"was unable to scale in due to (reason {count} tasks under protection)"
    )


def unbalanced(service: str, held: Mapping[str, int]) -> str:
    return f"(service {service}) is not AZ balanced with {_zones(held)}. AZ Rebalancing in progress."


def started_to_rebalance(service: str, zone: str, ids: list[str]) -> str:
    return f"(service {service}) has started {len(ids)} tasks in {zone} to AZ Rebalance: {_tasks(ids)}."


def balanced(service: str, held: Mapping[str, int]) -> str:
    return f"(service {service}) is AZ balanced with {_zones(held)}."


def _zones(held: Mapping[str, int]) -> str:
    """The fullest first."""
    fullest = sorted(held, key=lambda zone: (-held[zone], zone))
    return ", ".join(f"{held[zone]} tasks in {zone}" for zone in fullest)


CONTAINER_HEALTH_REASON = "Task failed container health checks"
"""`stoppedReason`. ECS-DG/stopped-task-error-codes."""


def elb_health_reason(target_group_arn: str) -> str:
    """`stoppedReason` of a task that the target group called unhealthy."""
    return f"Task failed ELB health checks in (target-group {target_group_arn})"


def scaling_reason(deployment_id: str) -> str:
    """`stoppedReason` of a task that the scheduler stopped, in rollouts too. O10, O12."""
    return f"Scaling activity initiated by (deployment {deployment_id})"
