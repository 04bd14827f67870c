"""The parts of the docker runtime and stage that need no Engine: what it is asked for, what its answers mean."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.access_log import AccessLogEntry
from rollproof.core.errors import Permanent, UsageError
from rollproof.core.settings import ContainerHealthCheck, TaskDefinition
from rollproof.history import read_history
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.docker_runs import LogFromHere, RunHistory, begin_of, make_run
from rollproof.orchestrator.docker_site import DockerSite
from rollproof.orchestrator.runtimes.docker_addresses import next_address, task_addresses
from rollproof.orchestrator.runtimes.docker_container import (
    ComposeProject,
    ContainerState,
    DockerImage,
    container_config,
    container_state,
    docker_health_check,
    start_refused,
    unix_time,
)
from rollproof.orchestrator.runtimes.docker_endpoint import EndpointTask, TaskEndpoints
from rollproof.orchestrator.runtimes.docker_facts import protection_of, resource_sample, task_condition
from rollproof.orchestrator.runtimes.launch_plan import task_facts
from rollproof.orchestrator.runtimes.metadata import ResourceSample, TaskCondition
from rollproof.orchestrator.runtimes.task_endpoint import BURST, Request
from rollproof.orchestrator.runtimes.task_protection import Protection
from rollproof.testing.fakes import FakeBalancer
from rollproof.testing.runtime_contract import make_spec

TASK = "0123456789abcdef0123456789abcdef"
PROJECT = ComposeProject("demo", "demo_default")
ADDRESS = "10.0.0.70:8000"


def config(definition: TaskDefinition = TaskDefinition(), *, cpus: int = 2) -> dict[str, Any]:  # noqa: B008 - frozen
    spec = make_spec(TASK, definition, Path("/logs"))
    return container_config(spec, PROJECT, DockerImage("local:1"), ADDRESS, {"AWS_REGION": "eu-west-1"}, cpus)


@pytest.mark.parametrize(
    ("cpu", "cpus", "nano_cpus"),
    [(256, 2, 250_000_000), (1024, 2, 1_000_000_000), (4096, 2, 2_000_000_000), (4096, 8, 4_000_000_000)],
)
def test_cpu_units_are_a_limit_and_no_more_than_the_machine_has(cpu: int, cpus: int, nano_cpus: int) -> None:
    assert config(TaskDefinition(cpu=cpu), cpus=cpus)["HostConfig"]["NanoCpus"] == nano_cpus


def test_the_image_keeps_its_command_unless_the_definition_has_one() -> None:
    assert "Cmd" not in config()
    assert config(TaskDefinition(command=("a", "b")))["Cmd"] == ["a", "b"]


def test_what_ecs_injects_goes_before_what_the_definition_says() -> None:
    environment = config(TaskDefinition(environment={"AWS_REGION": "mine", "X": "1"}))["Env"]
    assert environment == ["AWS_REGION=eu-west-1", "X=1"]


@pytest.mark.fidelity("ECS-TASK-34", source="API-ECS HealthCheck", mark="doc")
@pytest.mark.parametrize(
    ("check", "asked"),
    [
        (None, {"Test": ["NONE"]}),
        (ContainerHealthCheck(("NONE",)), {"Test": ["NONE"]}),
        (
            ContainerHealthCheck(("CMD", "x"), interval_s=1.5, timeout_s=1, retries=2, start_period_s=3),
            {
                "Test": ["CMD", "x"],
                "Interval": 1_500_000_000,
                "Timeout": 1_000_000_000,
                "Retries": 2,
                "StartPeriod": 3_000_000_000,
            },
        ),
    ],
)
def test_a_health_check_is_handed_to_the_engine(check: ContainerHealthCheck | None, asked: object) -> None:
    assert docker_health_check(check) == asked


def test_a_health_check_of_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="CMD-SHELL"):
        docker_health_check(ContainerHealthCheck(("curl", "x")))


def inspection(**state: Any) -> dict[str, Any]:
    labels = {"rollproof.task-id": TASK, "rollproof.address": ADDRESS}
    return {"Config": {"Labels": labels}, "State": {"Status": "running", **state}}


def state_of(**state: Any) -> ContainerState:
    found = container_state(inspection(**state))
    assert found is not None
    return found


def test_a_container_that_is_no_task_is_none() -> None:
    assert container_state({"Config": {"Labels": None}, "State": {"Status": "running"}}) is None


@pytest.mark.fidelity("ECS-TASK-25", source="O12", mark="observed")
@pytest.mark.parametrize(
    ("state", "has_started", "has_exited", "reason"),
    [
        ({"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}, False, False, ""),
        ({"StartedAt": "2026-11-21T02:43:16.5Z"}, True, False, ""),
        ({"Status": "exited", "StartedAt": "2026-11-21T02:43:16Z", "ExitCode": 143}, True, True, ""),
        (
            {"Status": "exited", "StartedAt": "2026-11-21T02:43:16Z", "ExitCode": 137, "OOMKilled": True},
            True,
            True,
            "OutOfMemoryError: container killed due to memory usage",
        ),
        ({"Status": "created", "StartedAt": "", "ExitCode": 127, "Error": "exec"}, False, False, ""),
    ],
)
def test_the_state_of_a_container(state: dict[str, Any], has_started: bool, has_exited: bool, reason: str) -> None:
    found = state_of(**state)
    assert (found.has_started, found.has_exited, found.exit_reason) == (has_started, has_exited, reason)


@pytest.mark.parametrize(
    ("text", "time"),
    [("0001-01-01T00:00:00Z", None), ("", None), ("1970-01-01T00:00:01Z", 1.0), ("1970-01-01T00:00:01.25Z", 1.25)],
)
def test_times_of_the_engine(text: str, time: float | None) -> None:
    assert unix_time(text) == time


def test_a_refusal_that_runc_did_not_write_is_the_daemons() -> None:
    assert start_refused("no space left") == "CannotStartContainerError: Error response from daemon: no space left"


# -- addresses ----------------------------------------------------------------------------------------------------


def network(**config: str) -> dict[str, Any]:
    return {"Name": "demo_default", "IPAM": {"Config": [config]}}


def test_tasks_get_the_subnet_without_what_the_engine_gives_out() -> None:
    pool = task_addresses(network(Subnet="10.0.0.0/28", IPRange="10.0.0.0/29", Gateway="10.0.0.9"))
    assert pool == ["10.0.0.8", "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"]


@pytest.mark.parametrize(
    "found",
    [
        network(Subnet="10.0.0.0/28"),
        {"Name": "x", "IPAM": {"Config": None}},
        network(Subnet="10.0.0.0/28", IPRange="10.0.0.0/28"),
    ],
)
def test_a_network_without_room_for_tasks_is_said(found: dict[str, Any]) -> None:
    with pytest.raises(Permanent, match="network"):
        task_addresses(found)


@pytest.mark.parametrize(
    ("taken", "last", "chosen"),
    [(set(), "", "a"), (set(), "a", "b"), ({"b"}, "a", "c"), (set(), "c", "a"), ({"a", "b", "c"}, "a", None)],
)
def test_addresses_go_round(taken: set[str], last: str, chosen: str | None) -> None:
    assert next_address(["a", "b", "c"], taken, last) == chosen


# -- the task endpoints ---------------------------------------------------------------------------------------------


class Endpoints:
    """TaskEndpoints with one task."""

    def __init__(self) -> None:
        self.facts = task_facts(make_spec(TASK, TaskDefinition(), Path("/logs")), 0.0)
        self.granted: list[Protection] = []
        self.served = TaskEndpoints(self._find, host="127.0.0.1", port=0, name="orchestrator")

    def _find(self, task_id: str) -> EndpointTask | None:
        async def condition() -> TaskCondition:
            return TaskCondition(started_at=1.0)

        async def sample() -> ResourceSample | None:
            return None

        if task_id != TASK:
            return None
        return EndpointTask(self.facts, ADDRESS, "10.0.0.0/24", condition, sample, self.granted.append, Protection())

    async def get(self, resource: str, *, peer: str = "10.0.0.70", endpoint_id: str = "") -> tuple[int, Any]:
        path = f"/v4/{endpoint_id or self.facts.docker_id}{resource}"
        answer = await self.served.answer(Request("GET", path, b""), peer)
        return answer.status, json.loads(answer.body) if answer.content_type == "application/json" else answer.body

    async def protect(self, body: bytes, peer: str = "10.0.0.70") -> int:
        path = f"/api/{self.facts.docker_id}/task-protection/v1/state"
        return (await self.served.answer(Request("PUT", path, body), peer)).status


async def test_a_task_is_told_its_own_address() -> None:
    status, told = await Endpoints().get("/task")
    assert status == 200
    assert told["TaskARN"].endswith(TASK)
    network = told["Containers"][0]["Networks"][0]
    assert (network["IPv4Addresses"], network["IPv4SubnetCIDRBlock"]) == (["10.0.0.70"], "10.0.0.0/24")


@pytest.mark.parametrize("resource", ["", "/", "/task/", "/taskWithTags", "/stats", "/task/stats"])
async def test_every_resource_of_the_endpoint_answers(resource: str) -> None:
    assert (await Endpoints().get(resource))[0] == 200


async def test_another_tasks_metadata_is_not_told() -> None:
    status, told = await Endpoints().get("/task", peer="10.0.0.71")
    assert (status, told.partition(":")[0]) == (404, "V4 task metadata handler")


@pytest.mark.parametrize("endpoint_id", ["x", "..", f"{TASK}-0000000000", "f" * 32 + "-1234567890"])
async def test_an_unknown_id_is_not_found(endpoint_id: str) -> None:
    assert (await Endpoints().get("", endpoint_id=endpoint_id))[0] == 404


async def test_protection_is_granted_to_the_task_itself_only() -> None:
    endpoints = Endpoints()
    assert await endpoints.protect(b'{"ProtectionEnabled": true}', peer="10.0.0.99") == 404
    assert endpoints.granted == []
    assert await endpoints.protect(b'{"ProtectionEnabled": true, "ExpiresInMinutes": 5}') == 200
    assert endpoints.granted[0].expires_in_minutes == 5


async def test_the_agents_rate_limit_holds_for_each_task() -> None:
    endpoints = Endpoints()
    answers = [(await endpoints.get("/task"))[0] for _ in range(BURST + 5)]
    assert answers[:BURST] == [200] * BURST
    assert 429 in answers


async def test_requests_over_the_network_are_known_by_where_they_come_from() -> None:
    endpoints = Endpoints()
    await endpoints.served.open()
    base = endpoints.served.environment(endpoints.facts.docker_id)["ECS_CONTAINER_METADATA_URI_V4"]
    port = int(base.split(":")[2].partition("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v4/{endpoints.facts.docker_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await endpoints.served.close()
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")  # 127.0.0.1 is not the task's address


@pytest.mark.fidelity("ECS-META-4", source="AGENT", mark="inferred")
def test_the_desired_status_turns_with_the_stop_signal() -> None:
    before = task_condition(state_of(StartedAt="1970-01-01T00:00:01Z"), [])
    after = task_condition(None, [{"kind": "signalled", "at": 5.0}])
    assert (before.desired_status, before.started_at) == ("RUNNING", 1.0)
    assert (after.desired_status, after.execution_stopped_at) == ("STOPPED", 5.0)


def test_the_health_is_what_the_engine_says() -> None:
    health = {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "no"}]}
    told = task_condition(state_of(StartedAt="1970-01-01T00:00:01Z", Health=health), []).health
    assert told is not None
    assert (told.status, told.exit_code, told.output) == ("UNHEALTHY", 1, "no")


def test_the_last_protection_holds() -> None:
    record = {"kind": "protection", "enabled": True, "expires_in_minutes": 5, "expires_at": 9.0}
    assert protection_of([]) == Protection()
    assert protection_of([{**record, "enabled": False}, record]) == Protection(True, 5, 9.0)


def test_no_sample_of_a_container_that_does_not_run() -> None:
    assert resource_sample({"read": "0001-01-01T00:00:00Z", "cpu_stats": {}}) is None


# -- runs and site ----------------------------------------------------------------------------------------------------


def test_each_run_has_a_history_of_its_own_and_the_stages_logs(tmp_path: Path) -> None:
    clock = StageClock()
    up = make_run(tmp_path, "up", offset=10)
    (up / "logs" / "task.log").write_text("hello")
    history = RunHistory(up, clock)
    history.record("mark", name="one")
    run = make_run(tmp_path, "sample", offset=20, logs=up / "logs")
    history.go_on_in(run)
    history.record("mark", name="two")
    history.close()
    assert [record["name"] for record in read_history(up / "history.jsonl")] == ["one"]
    assert [record["name"] for record in read_history(run / "history.jsonl")] == ["two"]
    assert (run / "logs" / "task.log").read_text() == "hello"
    assert (begin_of(up), begin_of(run)) == (10, 20)


def test_runs_of_the_same_second_do_not_meet(tmp_path: Path) -> None:
    runs = {make_run(tmp_path, "x", offset=0) for _ in range(3)}
    assert len(runs) == 3


class LoggingBalancer(FakeBalancer):
    """Entries of one byte each."""

    async def access_log(self, offset: int) -> AsyncIterator[tuple[int, AccessLogEntry]]:
        for position in range(offset + 1, 6):
            yield position, None  # type: ignore[misc]


async def test_a_run_has_its_part_of_the_access_log() -> None:
    log = LogFromHere(LoggingBalancer(), 3)
    assert [position async for position, _ in log.access_log(0)] == [4, 5]
    assert log.read_until == 5


SITE = {
    "DOCKER_HOST": "unix:///gate/docker.sock",
    "ROLLPROOF_PROJECT": "demo",
    "ROLLPROOF_NETWORK": "demo_default",
    "REDIS_URL": "redis://redis:6379/0",
}


def test_the_site_is_read_from_the_environment() -> None:
    site = DockerSite.from_environment(SITE)
    assert site.project == replace(PROJECT)
    assert (site.alb, site.image, site.control) == (("lb", 8080), "rollproof-server", Path("/lb/control.sock"))


@pytest.mark.parametrize("missing", sorted(SITE))
def test_a_site_with_a_gap_is_refused_by_name(missing: str) -> None:
    with pytest.raises(UsageError, match=missing):
        DockerSite.from_environment({name: value for name, value in SITE.items() if name != missing})
