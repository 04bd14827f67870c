"""Something is killed with SIGKILL in the middle of it all; everything goes on."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from rollproof.history import Record
from tests.e2e.place import QUICK, TINY, Done, Place, Running, find, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


class Stage:
    """`rollproof up` with a small stateless server, and what a user does to it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.up = self.start()
        self.up.wait_record("service_event", message="(service mcp-service) has reached a steady state.")
        self.up.wait_said("load balancer:")
        run_dir = self.up.run_dir()
        assert run_dir is not None
        self.run_dir: Path = run_dir
        self.endpoint = next(word for word in self.up.out.split() if word.endswith("/mcp"))

    def start(self) -> Running:
        return self.place.start("up", *QUICK, "--port", "0", "--command", TINY)

    def kill_and_start_again(self) -> float:
        """Seconds until the new orchestrator has taken over."""
        self.up.signal(signal.SIGKILL)
        self.up.process.wait()
        began_at, adoptions = time.monotonic(), len(find(self.run_dir, "orchestrator", event="adopted"))
        self.up = self.start()
        wait_until(lambda: len(find(self.run_dir, "orchestrator", event="adopted")) > adoptions, "the adoption")
        return time.monotonic() - began_at

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.place.run("status", "--json").out)
        return found

    def probe(self) -> Running:
        history = self.place.root / "probe.jsonl"
        options = ("--sessions", "6", "--calls", "0", "--delay", "0.2", "--history", str(history))
        probe = self.place.start("probe", "--endpoint", self.endpoint, *options)
        wait_until(lambda: history.exists() and '"kind":"call"' in history.read_text(), "the first call")
        return probe

    def end_probe(self, probe: Running) -> dict[str, Any]:
        probe.signal(signal.SIGINT)
        done = probe.end()
        found: dict[str, Any] = json.loads(done.out)
        return found

    def down(self) -> None:
        assert self.place.run("down").exit_code == 0
        assert self.up.end().exit_code == 0
        self.place.assert_nothing_left()


class TestKilledOrchestrator:
    def test_the_rollout_completes_and_no_call_is_lost(self, place: Place) -> None:
        stage = Stage(place)
        probe = stage.probe()
        old = {x["task_id"] for x in find(stage.run_dir, "task", known="RUNNING")}
        assert place.run("deploy", "--force-new-deployment", "--no-wait").exit_code == 0
        wait_until(lambda: find(stage.run_dir, "target", state="draining"), "draining")
        stage.kill_and_start_again()
        assert "taking over" in stage.up.err
        wait_until(lambda: len(completed(stage.run_dir)) == 2, "the end of the rollout")
        summary = stage.end_probe(probe)
        assert summary["error_rows"] == 0, summary
        assert summary["session_complete"]

        records = find(stage.run_dir)
        times = [x["t"] for x in records if x["kind"] in ("task", "deployment", "orchestrator")]
        assert times == sorted(times), "the stage's time went back"
        stopped = {x["task_id"] for x in find(stage.run_dir, "task", known="STOPPED")}
        assert stopped == old
        for task_id in old:
            (unused,) = find(stage.run_dir, "target", task_id=task_id, state="unused")
            signals = find(stage.run_dir, "task", task_id=task_id, signal="SIGTERM")
            assert signals
            assert unused["t"] <= signals[0]["t"]
        stage.down()

    def test_each_request_is_in_the_history_once(self, place: Place) -> None:
        stage = Stage(place)
        for _ in range(20):
            httpx.get(stage.endpoint)
        wait_until(lambda: len(find(stage.run_dir, "request")) >= 20, "the access log")
        stage.kill_and_start_again()
        httpx.get(stage.endpoint, params={"last": "1"})
        wait_until(lambda: any("last=1" in x["request"] for x in find(stage.run_dir, "request")), "the last request")
        assert len(find(stage.run_dir, "request")) == 21
        stage.down()

    def test_a_task_that_died_meanwhile_is_replaced(self, place: Place) -> None:
        stage = Stage(place)
        stage.up.signal(signal.SIGKILL)
        stage.up.process.wait()
        servers = [x for x in place.processes() if "tiny_mcp.py" in " ".join(x.cmdline())]
        assert len(servers) == 2
        servers[0].kill()
        stage.up = stage.start()
        wait_until(lambda: len({x["task_id"] for x in find(stage.run_dir, "task", known="RUNNING")}) == 3, "a new task")
        ended = [x for x in find(stage.run_dir, "task") if "exit_code" in x]
        assert ended[0]["exit_code"] == 137
        stage.down()

    def test_down_ends_what_it_has_left(self, place: Place) -> None:
        stage = Stage(place)
        stage.up.signal(signal.SIGKILL)
        stage.up.process.wait()
        assert len(place.processes()) >= 5  # the balancer, two tasks and their agents
        done = place.run("down")
        assert (done.exit_code, done.out) == (0, "down; nothing is left running\n")
        place.assert_nothing_left()
        assert place.run("down").out == "nothing was up\n"

    def test_a_waiting_deploy_says_so(self, place: Place) -> None:
        stage = Stage(place)
        deploy = place.start("deploy", "--force-new-deployment")
        deploy.wait_said("has started 2 tasks")
        stage.up.signal(signal.SIGKILL)
        stage.up.process.wait()
        done = deploy.end()
        assert done.exit_code == 3
        assert "ended while ecs-svc/" in done.err
        assert "rollproof up" in done.err
        assert place.run("down").exit_code == 0

    def test_balancer_and_all_are_killed(self, place: Place) -> None:
        stage = Stage(place)
        stage.up.signal(signal.SIGKILL)
        stage.up.process.wait()
        balancer(place).kill()
        stage.up = stage.start()
        wait_until(lambda: answers(stage.endpoint), "an answer at the same address")
        stage.down()


class TestKilledBalancer:
    def test_comes_back_on_its_port_with_its_table(self, place: Place) -> None:
        stage = Stage(place)
        killed = balancer(place)
        killed.kill()
        wait_until(lambda: answers(stage.endpoint), "an answer at the same address", within_s=20)
        assert balancer(place).pid != killed.pid
        assert len(find(stage.run_dir, "fault", name="balancer-died")) == 1
        stage.down()


class TestKilledTask:
    def test_some_seconds_of_502_then_a_replacement(self, place: Place) -> None:
        stage = Stage(place)
        probe = stage.probe()
        assert place.run("stop-task", "--crash").exit_code == 0
        wait_until(lambda: len({x["task_id"] for x in find(stage.run_dir, "task", known="RUNNING")}) == 3, "a new task")
        wait_until(lambda: stage.status()["is_steady"], "a steady state")
        summary = stage.end_probe(probe)
        assert set(summary["http_status_counts"]) <= {"200", "202", "502"}
        requests = find(stage.run_dir, "request", elb_status_code="502")
        (fault,) = find(stage.run_dir, "fault", name="crash")
        assert all(0 <= x["t"] - fault["t"] < 10 for x in requests)
        stage.down()

    def test_of_a_rehearsal_that_was_killed_the_next_one_clears_up(self, place: Place) -> None:
        rehearsal = place.start("rehearse", *QUICK, "--command", TINY)
        rehearsal.wait_record("mark", name="warmed-up")
        rehearsal.signal(signal.SIGKILL)
        rehearsal.process.wait()
        (left,) = place.left_files()
        done = place.run("rehearse", *QUICK, "--command", "sh -c 'exit 3'")
        assert done.exit_code == 3
        assert left not in place.left_files()
        place.assert_nothing_left()


def completed(run_dir: Path) -> list[Record]:
    return [x for x in find(run_dir, "service_event") if "deployment completed" in x["message"]]


def balancer(place: Place) -> psutil.Process:
    (found,) = [x for x in place.processes() if "rollproof.orchestrator.balancers.embedded" in x.cmdline()]
    return found


def answers(endpoint: str) -> bool:
    """405: a task has answered, not the balancer for want of one."""
    try:
        return httpx.get(endpoint).status_code == 405
    except httpx.TransportError:
        return False


def test_stop_task_by_the_beginning_of_its_id(place: Place) -> None:
    stage = Stage(place)
    task_id = find(stage.run_dir, "task", known="RUNNING")[0]["task_id"]
    done: Done = place.run("stop-task", task_id[:6], "--reason", "maintenance", "--json")
    assert json.loads(done.out) == {"task_id": task_id}
    wait_until(lambda: find(stage.run_dir, "task", task_id=task_id, known="STOPPED"), "its end")
    (stopped,) = find(stage.run_dir, "task", task_id=task_id, known="STOPPED")
    assert stopped["stop_code"] == "UserInitiated"
    assert "maintenance" in stopped["stopped_reason"]
    stage.down()
