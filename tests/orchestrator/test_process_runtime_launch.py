"""What the process runtime makes of a TaskSpec, and how it finds ports. No processes."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from rollproof.core.errors import Temporary, UsageError
from rollproof.core.settings import ContainerHealthCheck, TaskDefinition
from rollproof.orchestrator.runtimes.launch_plan import (
    ImageSpec,
    at_own_port,
    plan_health_check,
    plan_launch,
    refusal,
    task_environment,
    task_facts,
    with_port,
)
from rollproof.orchestrator.runtimes.port_pool import PortPool
from rollproof.orchestrator.runtimes.start_failures import pull_failure, start_failure
from rollproof.testing.runtime_contract import make_spec

TASK = "a" * 32
HERE = Path("/")
SPEC = make_spec(TASK, TaskDefinition(environment={"REDIS_URL": "redis://x"}), HERE)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("{port}", "20001"),
        ("--port=$PORT", "--port=20001"),
        ("0.0.0.0:${PORT}", "0.0.0.0:20001"),
        ("$PORTAL ${PORTS} $port", "$PORTAL ${PORTS} $port"),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_the_port_is_put_into_arguments(argument: str, expected: str) -> None:
    assert with_port(argument, 20001) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("curl -sf http://localhost:3000/healthz || exit 1", "curl -sf http://127.0.0.1:20001/healthz || exit 1"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:20001"),
        ("http://[::1]:3000/", "http://127.0.0.1:20001/"),
        ("http://localhost:30001/", "http://localhost:30001/"),
        ("http://redis:3000/ http://notlocalhost:3000/", "http://redis:3000/ http://notlocalhost:3000/"),
    ],
)
def test_a_health_check_asks_at_the_tasks_own_port(argument: str, expected: str) -> None:
    assert at_own_port(argument, 3000, 20001) == expected


@pytest.mark.parametrize(
    ("command", "executed"),
    [
        (("CMD-SHELL", "curl localhost:8000"), ("/bin/sh", "-c", "curl 127.0.0.1:20001")),
        (("CMD", "probe", "--port", "{port}"), ("probe", "--port", "20001")),
    ],
)
def test_a_health_check_becomes_a_command(command: tuple[str, ...], executed: tuple[str, ...]) -> None:
    planned = plan_health_check(ContainerHealthCheck(command, 10, 3, 2, 7), 8000, 20001)
    assert planned == [executed, 10, 3, 2, 7]


def test_no_health_check_stays_none() -> None:
    assert plan_health_check(None, 8000, 20001) is None
    assert plan_health_check(ContainerHealthCheck(("NONE",)), 8000, 20001) is None


@pytest.mark.parametrize("command", [("curl", "x"), ("CMD",), ("CMD-SHELL",)])
def test_a_health_check_of_no_known_form_is_refused(command: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="neither CMD nor CMD-SHELL"):
        plan_health_check(ContainerHealthCheck(command), 8000, 20001)


def test_the_definitions_command_overrides_the_images() -> None:
    image = ImageSpec(("serve", "{port}"), HERE)
    assert plan_launch(SPEC, image, 20001, HERE, 1.0).argv == ["serve", "20001"]
    overriding = replace(SPEC, definition=TaskDefinition(command=("other", "$PORT")))
    assert plan_launch(overriding, image, 20001, HERE, 1.0).argv == ["other", "20001"]


def test_the_later_layer_of_the_environment_wins() -> None:
    ours = {"PATH": "/bin", "HOME": "/home/me", "AWS_PROFILE": "me", "PYTHONUNBUFFERED": "1", "LC_ALL": "C", "X": "1"}
    image = ImageSpec((), HERE, {"PORT": "1", "REDIS_URL": "redis://image", "AWS_CONFIG_FILE": "/mine"})
    seen = task_environment(SPEC, image, 20001, Path("/tmp/t"), ours)
    assert seen["PATH"].endswith(":/bin")
    assert (seen["PORT"], seen["REDIS_URL"], seen["AWS_CONFIG_FILE"]) == ("20001", "redis://x", "/mine")
    assert (seen["HOME"], seen["LC_ALL"], seen["PYTHONUNBUFFERED"]) == ("/home/me", "C", "1")
    assert not {"AWS_PROFILE", "X"} & seen.keys()


@pytest.mark.parametrize(
    ("image", "spec", "words"),
    [
        (None, SPEC, "CannotPullContainerError: "),
        (ImageSpec((), HERE), SPEC, "CannotCreateContainerError: "),
        (ImageSpec(("true",), HERE), SPEC, ""),
        (ImageSpec((), HERE), replace(SPEC, definition=TaskDefinition(command=("true",))), ""),
    ],
)
def test_what_cannot_be_tried_is_refused(image: ImageSpec | None, spec: object, words: str) -> None:
    assert isinstance(spec, type(SPEC))
    reason = refusal(spec, image)
    assert reason.startswith(words)
    assert bool(reason) == bool(words)


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("nope", "docker.io/library/nope:latest"),
        ("me/nope:v1", "docker.io/me/nope:v1"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/mcp:v2", "123456789012.dkr.ecr.us-east-1.amazonaws.com/mcp:v2"),
        ("localhost:5000/mcp", "localhost:5000/mcp:latest"),
    ],
)
def test_an_image_is_named_by_its_full_reference(image: str, reference: str) -> None:
    assert f"failed to resolve ref {reference}: {reference}: not found" in pull_failure(image)


def test_an_unforeseen_error_is_told_as_it_is() -> None:
    assert 'exec: "x": too long' in start_failure("x", "/", ValueError("too long"))


def test_ids_of_a_task_are_derived_and_have_the_form_of_fargates() -> None:
    facts = task_facts(SPEC, 0.0)
    assert facts == task_facts(SPEC, 0.0)
    serial = facts.docker_id.removeprefix(f"{TASK}-")
    assert (len(serial), serial.isdigit()) == (10, True)
    assert facts.container_arn.startswith(f"arn:aws:ecs:us-east-1:123456789012:container/mcp-cluster/{TASK}/")
    assert [len(part) for part in facts.container_arn.rpartition("/")[2].split("-")] == [8, 4, 4, 4, 12]


class TestPortPool:
    def test_a_held_port_is_given_to_nobody_else(self, tmp_path: Path) -> None:
        mine, other = PortPool(range(20_500, 20_503), tmp_path), PortPool(range(20_500, 20_503), tmp_path)
        held = [mine.take() for _ in range(2)]
        last = other.take()
        assert {port.number for port in (*held, last)} == {20_500, 20_501, 20_502}
        with pytest.raises(Temporary, match="no free loopback port between 20500 and 20502"):
            other.take()
        held[0].close()
        assert other.take().number == held[0].number

    def test_taken_and_listening_ports_are_left_out(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            pool = PortPool(range(port, port + 1), tmp_path)
            with pytest.raises(Temporary):
                pool.take()
        pool = PortPool(range(20_510, 20_512), tmp_path)
        assert pool.take(taken={20_510}).number == 20_511

    def test_a_port_given_back_is_the_last_to_be_used_again(self, tmp_path: Path) -> None:
        pool = PortPool(range(20_520, 20_523), tmp_path)
        numbers = []
        for _ in range(3):
            held = pool.take()
            held.close()
            numbers.append(held.number)
        assert len(set(numbers)) == 3
