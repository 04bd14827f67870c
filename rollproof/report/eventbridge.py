"""What EventBridge would have had of a run, in AWS's shape: to try rules, bots and dashboards on.

    {"version": "0", "id": "...", "detail-type": "ECS Deployment State Change", "source": "aws.ecs", "account": "...",
     "time": "2026-11-20T10:00:00Z", "region": "...", "resources": ["arn:..."], "detail": {...}}

ECS-DG/ecs_cwe_events. Task state changes, deployment state changes, and those service actions that a rehearsal has;
all drawn from the history, in its order. A field that the history does not tell is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any
from uuid import UUID

from rollproof.core import names
from rollproof.core.settings import ServiceSettings

Record = Mapping[str, Any]
Event = dict[str, Any]

_DEPLOYMENTS = {"IN_PROGRESS": "INFO", "COMPLETED": "INFO", "FAILED": "ERROR"}
_ACTIONS = {
    "has reached a steady state": ("INFO", "SERVICE_STEADY_STATE"),
    "is unable to consistently start tasks": ("WARN", "SERVICE_TASK_START_IMPAIRED"),
    "is not AZ balanced": ("INFO", "SERVICE_REBALANCING_STARTED"),
    "is AZ balanced": ("INFO", "SERVICE_REBALANCING_COMPLETED"),
}
"""Words of a service event -> (eventType, eventName)."""

_STOP_CODES = {"stop_code": "stopCode", "stopped_reason": "stoppedReason"}


def eventbridge_events(records: Iterable[Record]) -> Iterator[Event]:
    """The events of a run's history, oldest first."""
    service, seen = ServiceSettings(), dict[str, Any]()
    versions = Counter[str]()
    for record in records:
        kind = record.get("kind")
        if kind == "setting":
            service = _named(service, record)
        elif kind == "task" and (state := (record.get("known"), record.get("desired"))) != seen.get(record["task_id"]):
            seen[record["task_id"]] = state
            versions[record["task_id"]] += 1
            yield _task(service, record, versions[record["task_id"]])
        elif kind == "deployment" and record.get("status") != "INACTIVE" and _is_news(seen, record):
            yield _deployment(service, record)
        elif kind == "service_event":
            for words, (event_type, name) in _ACTIONS.items():
                if words in str(record.get("message")):
                    yield _action(service, record, event_type, name)


def _named(service: ServiceSettings, record: Record) -> ServiceSettings:
    part, _, name = str(record.get("name")).partition(".")
    is_name = part == "service" and name in ("name", "cluster", "region", "account")
    return replace(service, **{name: str(record["value"])}) if is_name else service  # type: ignore[arg-type]


def _is_news(seen: dict[str, Any], record: Record) -> bool:
    state = (record.get("rollout_state"), record.get("reason"))
    is_news = seen.get(record["id"]) != state
    seen[record["id"]] = state
    return is_news


def _task(service: ServiceSettings, record: Record, version: int) -> Event:
    task_id, known = str(record["task_id"]), str(record["known"])
    arn = names.task_arn(service, task_id)
    container = {"taskArn": arn, "lastStatus": _container_status(known)}
    if (exit_code := record.get("exit_code")) is not None:
        container["exitCode"] = exit_code
    detail = {
        "clusterArn": names.cluster_arn(service), "taskArn": arn, "group": f"service:{service.name}",
        "launchType": "FARGATE", "lastStatus": known, "desiredStatus": record["desired"],
        "startedBy": record.get("deployment"), "availabilityZone": record.get("availability_zone"),
        "containers": [container], "version": version, "updatedAt": record.get("at"),
    }  # fmt: skip
    if definition := record.get("task_definition"):
        detail["taskDefinitionArn"] = names.task_definition_arn(service, definition)
    detail |= {theirs: record[ours] for ours, theirs in _STOP_CODES.items() if record.get(ours)}
    return _event(service, record, "ECS Task State Change", arn, {k: v for k, v in detail.items() if v is not None})


def _container_status(known: str) -> str:
    if known in ("DEPROVISIONING", "STOPPED"):
        return "STOPPED"
    return "RUNNING" if known in ("RUNNING", "DEACTIVATING", "STOPPING") else "PENDING"


def _deployment(service: ServiceSettings, record: Record) -> Event:
    state = str(record["rollout_state"])
    detail = {
        "eventType": _DEPLOYMENTS[state], "eventName": f"SERVICE_DEPLOYMENT_{state}", "deploymentId": record["id"],
        "updatedAt": record.get("at"), "reason": record.get("reason"),
    }  # fmt: skip
    return _event(service, record, "ECS Deployment State Change", names.service_arn(service), detail)


def _action(service: ServiceSettings, record: Record, event_type: str, name: str) -> Event:
    cluster = names.cluster_arn(service)
    detail = {"eventType": event_type, "eventName": name, "clusterArn": cluster, "createdAt": record.get("at")}
    return _event(service, record, "ECS Service Action", names.service_arn(service), detail)


def _event(service: ServiceSettings, record: Record, detail_type: str, arn: str, detail: dict[str, Any]) -> Event:
    """The envelope. Its id depends on the content alone: of the same run the same events."""
    seed = f"{detail_type}\x1f{record.get('t')}\x1f{sorted(detail.items(), key=str)}"
    return {
        "version": "0", "id": str(UUID(bytes=sha256(seed.encode()).digest()[:16])), "detail-type": detail_type,
        "source": "aws.ecs", "account": service.account, "time": record.get("at"), "region": service.region,
        "resources": [arn], "detail": detail,
    }  # fmt: skip
