"""The command line on this machine with `--stage docker`: what it starts, fetches, says and leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docker.engine import docker
from tests.e2e.docker.project import PATIENT, QUICK, Compose, Rehearsed, project, wait_until
from tests.e2e.place import Place


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    with project(
        tmp_path_factory.mktemp("runs"), "10.213.252", ROLLPROOF_SET=f"{PATIENT} deregistration_delay_s=100"
    ) as compose:
        yield compose


def clients(compose: Compose) -> list[str]:
    label = f"label=com.docker.compose.project={compose.project}"
    oneoff = "label=com.docker.compose.oneoff=True"
    return docker("ps", "--all", "--quiet", "--filter", label, "--filter", oneoff).split()


def test_a_stage_that_is_up_is_rehearsed_as_it_is(compose: Compose) -> None:
    done = compose.rehearse()
    assert (done.code, done.summary["verdict"]) == (0, "pass"), done.summary
    assert {record["value"] for record in done.records("setting", name="stage")} == {"docker"}
    (delay,) = done.records("setting", name="target_group.deregistration_delay_s")
    assert delay["value"] == 10.0
    assert "has begun draining" in done.err
    assert clients(compose) == []


def test_the_run_is_fetched_whole(compose: Compose) -> None:
    done = max(compose.runs.iterdir())
    assert {path.name for path in done.iterdir()} >= {
        "history.jsonl",
        "summary.json",
        "junit.xml",
        "access.log",
        "logs",
    }
    assert len(list((done / "logs").glob("*.log"))) == 4
    assert "/mcp HTTP/1.1" in (done / "access.log").read_text()


ALIKE = ("--strategy", "memory", "--set", PATIENT, "--set", "deregistration_delay_s=100", "--set", "cpu=1024",
         "--set", "memory_mib=2048")  # fmt: skip


@pytest.fixture(scope="module")
def lost(compose: Compose) -> Rehearsed:
    """Sessions in memory, with a whole CPU: as long to start as a process of this machine."""
    return compose.rehearse(*ALIKE)


def test_sessions_in_memory_are_lost_with_the_findings_of_the_local_stage(lost: Rehearsed) -> None:
    assert (lost.code, lost.summary["session_counts"]["lost"]) == (1, 6), lost.summary
    assert lost.findings >= {"atomic-failure", "green-dashboard", "cliff"}
    for session in lost.summary["sessions"]:
        assert session["first_failure"]["signature"] == "404/-32600 Session not found"


@pytest.mark.parametrize("how", [QUICK, ("--stage", "sim", "--sessions", "6", "--delay", "3")], ids=["local", "sim"])
def test_the_other_stages_tell_the_same_story(how: tuple[str, ...], lost: Rehearsed, place: Place) -> None:
    other = place.run("rehearse", *how, *ALIKE)
    assert (other.exit_code, other.run_dir is not None) == (1, True), other.err
    compared = place.run("compare", str(other.run_dir), str(lost.run_dir))
    assert compared.exit_code == 0, compared.out
    assert compared.out.rstrip().endswith("same story")


def test_the_service_is_deployed_to_and_looked_at(compose: Compose) -> None:
    before = compose.ask("status")
    deployed = compose.ask("deploy", "--env", "APP_VERSION=2", "--no-wait")
    assert deployed["deployment"] != before["deployments"][0]["id"]
    running = next(task["task_id"] for task in before["tasks"] if task["known"] == "RUNNING")
    assert compose.ask("stop-task", running[:8])["task_id"] == running
    wait_until(lambda: compose.ask("status")["is_steady"], "a steady state")


def test_ctrl_c_ends_the_clients_container_and_leaves_the_stage_up(compose: Compose) -> None:
    with compose.start("rehearse", *QUICK) as process:
        assert process.stderr is not None
        assert any("deployment triggered" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert clients(compose) == []
    assert "orchestrator" in compose.done("ps", "--services", "--status", "running").split()


def test_a_stage_that_is_not_up_is_said_and_not_made(tmp_path: Path) -> None:
    name = f"rollproof-absent-{os.getpid()}"
    done = subprocess.run(
        [sys.executable, "-m", "rollproof", "status", "--stage", "docker"],
        capture_output=True, text=True, check=False, env={**os.environ, "COMPOSE_PROJECT_NAME": name},
    )  # fmt: skip
    assert (done.returncode, "the docker stage is not up" in done.stderr) == (2, True), done.stderr
    assert docker("volume", "ls", "--quiet", "--filter", f"name={name}") == ""
