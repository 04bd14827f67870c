"""Reads the container that serves, from a task definition as CloudFormation or as the ECS API spells it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollproof.api.placeholder import Placeholder
from rollproof.api.remarks import container_remarks, mappings
from rollproof.api.sheet import Facts, Sheet
from rollproof.core.errors import UsageError


def read_container(sheet: Sheet, facts: Facts, index: int, port: Any = None) -> None:
    """Name, port, environment, secrets and notes of container `index`; `port` is the one the service names."""
    containers = facts.properties["ContainerDefinitions"]
    container: Mapping[str, Any] = containers[index]
    label, where = (f"{each}.ContainerDefinitions[{index}]" for each in (facts.label, facts.where))
    if not container.get("Name") or not container.get("Image"):
        raise UsageError(f"{where}: a container needs a Name and an Image")
    sheet.set("container_name", container["Name"], f"{label}.Name", where=where)
    _read_port(sheet, container, port, label, where)
    _read_environment(sheet, container, label, where)
    sheet.notes += container_remarks(container, where)
    sheet.notes += _sidecars(containers, index)


def load_task_definition(path: Path, name: str) -> Mapping[str, Any]:
    """The task definition in the JSON file `path`, keys as CloudFormation spells them. Raises UsageError."""
    try:
        body = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"task definition {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"task definition {name}: not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from error
    definition = body.get("taskDefinition", body) if isinstance(body, Mapping) else None
    if not isinstance(definition, Mapping) or "containerDefinitions" not in definition:
        raise UsageError(
            f"{name}: not a task definition: it has no containerDefinitions",
            hint="aws ecs describe-task-definition --task-definition NAME > task-definition.json",
        )
    pascal: Mapping[str, Any] = _pascal(definition)
    return pascal


def _read_port(sheet: Sheet, container: Mapping[str, Any], port: Any, label: str, where: str) -> None:
    published = [mapping.get("ContainerPort") for mapping in mappings(container.get("PortMappings"))]
    if port is not None and published and str(port) not in map(str, published):
        listed = ", ".join(map(str, published))
        raise UsageError(f"{where}: the load balancer uses container port {port}, published is {listed}")
    if port is None and not published:
        sheet.notes.append(f"no port is published: {sheet.get('container_port')} is assumed")
        return
    sheet.set("container_port", published[0] if port is None else port, f"{label}.PortMappings", where=where)


def _read_environment(sheet: Sheet, container: Mapping[str, Any], label: str, where: str) -> None:
    plain: dict[str, str] = {}
    for name, value in _pairs(container.get("Environment"), "Value", where):
        if isinstance(value, Placeholder):
            sheet.secret_names.append(name)
            sheet.notes.append(f"{name} is {value}: known only after a deployment, so the rehearsal supplies it")
        else:
            plain[name] = ("true" if value else "false") if isinstance(value, bool) else str(value)
    sheet.secret_names += [name for name, _ in _pairs(container.get("Secrets"), "ValueFrom", where)]
    sheet.set_environment(plain, f"{label}.Environment")


def _pairs(listed: Any, value_key: str, where: str) -> Iterator[tuple[str, Any]]:
    if listed is not None and not isinstance(listed, list):
        raise UsageError(f"{where}: Environment and Secrets are lists of Name and {value_key}")
    for item in listed or []:
        if not isinstance(item, Mapping) or "Name" not in item or value_key not in item:
            raise UsageError(f"{where}: an entry of Environment or Secrets needs Name and {value_key}")
        yield str(item["Name"]), item[value_key]


def _sidecars(containers: Sequence[Mapping[str, Any]], serving: int) -> Iterator[str]:
    for index, container in enumerate(containers):
        if index == serving:
            continue
        essential = str(container.get("Essential", True)).lower() != "false"
        why = "; on AWS the task stops when it does" if essential else ""
        yield f"container {container.get('Name')} is not started: a rehearsed task has one container{why}"


def _pascal(value: Any) -> Any:
    """containerDefinitions -> ContainerDefinitions, all the way down."""
    if isinstance(value, Mapping):
        return {key[:1].upper() + key[1:]: _pascal(item) for key, item in value.items()}
    return [_pascal(item) for item in value] if isinstance(value, list) else value
