from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rollproof.api.knobs import settings_from_task_definition
from rollproof.core.errors import UsageError
from rollproof.core.settings import ContainerHealthCheck
from rollproof.core.validate import validate

DEFINITION: dict[str, Any] = {
    "family": "mcp-server",
    "revision": 7,
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "512",
    "memory": "1024",
    "containerDefinitions": [
        {
            "name": "mcp-server",
            "image": "repo/mcp-server:latest",
            "portMappings": [{"containerPort": 3000, "protocol": "tcp"}],
            "environment": [{"name": "NODE_ENV", "value": "production"}],
            "secrets": [{"name": "REDIS_URL", "valueFrom": "arn:secret"}],
            "healthCheck": {
                "command": ["CMD-SHELL", "curl -sf localhost:3000/healthz"],
                "interval": 15,
                "startPeriod": 20,
            },
            "stopTimeout": 60,
            "restartPolicy": {"enabled": True},
            "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/x"}},
        }
    ],
}


def _write(directory: Path, body: object) -> Path:
    path = directory / "taskdef.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return path


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_task_definition_gives_its_knobs(tmp_path: Path, wrapped: bool) -> None:
    reading = settings_from_task_definition(_write(tmp_path, {"taskDefinition": DEFINITION} if wrapped else DEFINITION))
    definition = reading.settings.task_definition
    assert definition.name == "mcp-server:7"
    assert (definition.container, definition.image, definition.container_port) == (
        "mcp-server",
        "repo/mcp-server:latest",
        3000,
    )
    assert (definition.cpu, definition.memory_mib, definition.stop_timeout_s) == (512, 1024, 60.0)
    assert definition.environment == {"NODE_ENV": "production"}
    assert definition.health_check == ContainerHealthCheck(
        ("CMD-SHELL", "curl -sf localhost:3000/healthz"), interval_s=15.0, start_period_s=20.0
    )
    assert reading.settings.target_group.port == 3000
    assert reading.secret_names == ("REDIS_URL",)
    assert reading.settings.sources["task_definition.stop_timeout_s"].endswith(
        "taskdef.json.ContainerDefinitions[0].StopTimeout"
    )
    assert reading.settings.sources["target_group.deregistration_delay_s"] == "AWS default"
    assert "is a task definition alone" in reading.notes[0]
    assert any("restarted in place" in note for note in reading.notes)
    validate(reading.settings)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "taskdef.json:1:2: not valid JSON"),
        ("[]", "not a task definition"),
        ({"family": "x"}, "it has no containerDefinitions"),
        ({"containerDefinitions": []}, "needs ContainerDefinitions"),
        ({"containerDefinitions": [{"name": "a"}]}, "needs a Name and an Image"),
        ({"containerDefinitions": [{"name": "a", "image": "a"}], "cpu": "lots"}, "cpu: 'lots' is not a value"),
    ],
)
def test_what_is_no_task_definition_is_refused(tmp_path: Path, body: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_from_task_definition(_write(tmp_path, body))
    assert message in caught.value.message


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.json: No such file"):
        settings_from_task_definition(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"b\.json: not UTF-8"):
        settings_from_task_definition(tmp_path / "b.json")
