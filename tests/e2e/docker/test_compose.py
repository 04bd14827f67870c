"""The whole Compose project as its files set it: up, the client's rehearsal, and nothing left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.docker.engine import docker
from tests.e2e.docker.project import PATIENT, QUICK, Compose, project


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    with project(tmp_path_factory.mktemp("runs"), "10.213.251") as compose:
        yield compose


def test_the_sample_survives_its_rollout(compose: Compose) -> None:
    done = compose("run", "--rm", "-T", "client", "rehearse", *QUICK, "--json")
    assert done.stdout, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    assert done.returncode == 0, summary
    assert (summary["verdict"], len(summary["replaced_tasks"]), summary["error_rows"]) == ("pass", 2, 0)
    assert len(compose.done("ps", "--format", "{{.Name}}", "server").split()) == 2
    assert "session" in compose.done("logs", "--tail", "5", "server")


def test_redis_is_restarted_and_has_forgotten_everything(compose: Compose) -> None:
    """Asked to end by its own protocol, started again by the keeper: nothing more of Docker is asked for that."""
    done = compose("run", "--rm", "-T", "client", "rehearse", *QUICK, "--disruption", "redis-restart", "--json")
    assert done.stdout, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["verdict"], summary["replaced_tasks"]) == (1, "fail", [])
    assert all(session["cause"].startswith("Redis was restarted at") for session in summary["sessions"])
    told = next(finding["text"] for finding in summary["findings"] if finding["id"] == "redis-restart")
    assert told.endswith("keys it held are lost (append-only: no).")
    assert "redis" in compose.done("ps", "--services", "--status", "running").split()


def test_the_tasks_image_holds_what_each_strategy_needs_and_nothing_else_of_rollproof(compose: Compose) -> None:
    look = (
        "import json, os, mcp_persist, rollproof.sessions, server.durable_sessions; "
        "print(json.dumps([sorted(os.listdir('/app')), sorted(os.listdir('/app/rollproof'))]))"
    )
    assert json.loads(docker("run", "--rm", "rollproof-server", "python", "-c", look)) == [
        ["rollproof", "server"],
        ["sessions"],
    ]


def test_the_orchestrator_cannot_do_more_with_docker_than_it_needs(compose: Compose) -> None:
    calls = """
import docker, os
client = docker.APIClient(base_url=os.environ["DOCKER_HOST"], version="auto")
for call in (
    lambda: client.info(),
    lambda: client.containers(all=True),
    lambda: client.exec_create("PROJECT-redis-1", "id"),
    lambda: client.remove_container("PROJECT-redis-1", force=True),
    lambda: client.start("PROJECT-redis-1"),
    lambda: client.create_container("redis:8.0", host_config=client.create_host_config(privileged=True)),
    lambda: client.pull("alpine"),
):
    try:
        call()
        print("allowed")
    except docker.errors.APIError as error:
        print(error.response.status_code)
""".replace("PROJECT", compose.project)
    said = compose.done("exec", "-T", "orchestrator", "python", "-c", calls)
    assert said.split() == ["403"] * 7
    log = compose("logs", "--no-log-prefix", "socket-proxy").stdout
    assert "/info: not on the list of calls" in log
    assert log.count("refused ") >= 7


def test_every_container_runs_without_privilege(compose: Compose) -> None:
    names = docker("ps", "--format", "{{.Names}}", "--filter", f"label=com.docker.compose.project={compose.project}")
    found = json.loads(docker("inspect", *names.split()))
    assert len(found) == 6
    users = {"socket-proxy": "0:0", "redis": "redis"}  # the Engine's socket is root's; the proxy has nothing else
    for container in found:
        host, service = container["HostConfig"], container["Config"]["Labels"]["com.docker.compose.service"]
        assert host["ReadonlyRootfs"], service
        assert not host["Privileged"], service
        assert host["CapDrop"] == ["ALL"], service
        assert host["CapAdd"] == (["SYS_PTRACE"] if service == "lb" else None), service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert container["Config"]["User"] == users.get(service, "10001:10001"), service
        if service == "socket-proxy":
            assert host["NetworkMode"] == "none"
        else:
            assert not any("docker.sock" in str(mount.get("Source")) for mount in container["Mounts"])


def test_no_process_of_the_load_balancer_has_a_capability_in_force(compose: Compose) -> None:
    said = compose.done("exec", "-T", "lb", "sh", "-c", "grep -h CapEff /proc/[0-9]*/status")
    assert set(said.split()) == {"CapEff:", "0000000000000000"}


def test_only_the_load_balancer_is_published_and_on_loopback_only(compose: Compose) -> None:
    names = docker("ps", "--format", "{{.Names}}", "--filter", f"label=com.docker.compose.project={compose.project}")
    published = {}
    for container in json.loads(docker("inspect", *names.split())):
        ports = [binding for bound in container["NetworkSettings"]["Ports"].values() for binding in bound or ()]
        if ports:
            published[container["Name"]] = {port["HostIp"] for port in ports}
    assert published == {f"/{compose.project}-lb-1": {"127.0.0.1"}}


def test_the_load_profile_calls_until_it_is_stopped(compose: Compose) -> None:
    compose.environment.update(ROLLPROOF_SESSIONS="4", ROLLPROOF_DELAY="0.2")
    compose.done("--profile", "load", "up", "--detach", "load")
    path, number = "/runs/load.jsonl", 0
    try:
        while number < 20:
            said = compose("exec", "-T", "orchestrator", "grep", "-c", '"kind":"call".*"ok":true', path).stdout
            number = int(said.strip() or 0)
            assert "load" in compose.done("ps", "--services", "--status", "running").split()
    finally:
        compose("--profile", "load", "rm", "--stop", "--force", "load")


def test_what_an_overlay_has_set_is_what_the_client_rehearses(compose: Compose) -> None:
    """Also where the client is run without the overlay, as one does."""
    compose.environment["ROLLPROOF_SET"] = f"{PATIENT} deregistration_delay_s=100"
    with_memory = replace(compose, files=(*compose.files, "compose/memory.yml"))
    with_memory.done("up", "--detach", "--wait")
    done = compose("run", "--rm", "-T", "client", "rehearse", *QUICK, "--json")
    assert done.stdout, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["session_counts"]["lost"]) == (1, 6), summary
    assert {finding["id"] for finding in summary["findings"]} >= {"atomic-failure", "green-dashboard", "cliff"}


def test_down_leaves_nothing_even_of_a_killed_orchestrator(compose: Compose) -> None:
    docker("kill", f"{compose.project}-orchestrator-1")
    compose.done("down", "--volumes")
    assert compose.left() == []
