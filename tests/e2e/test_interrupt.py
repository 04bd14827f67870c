"""Ctrl-C and SIGTERM at any moment: exit code 130, and nothing is left running."""

from __future__ import annotations

import signal
import time

import pytest

from tests.e2e.place import QUICK, TINY, Place, Running, wait_until
from tests.orchestrator.test_nginx_balancer import NEEDS_NGINX

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
REHEARSE = ("rehearse", *QUICK, "--command", TINY, "--sessions", "6", "--delay", "0.3")


def assert_stopped(place: Place, running: Running) -> None:
    done = running.end(within_s=20)
    assert done.exit_code == 130, done.err
    assert done.err.endswith("stopped; nothing is left running\n"), done.err
    assert "Traceback" not in done.err
    place.assert_nothing_left()


@pytest.mark.parametrize("after_s", [0.9, 1.1, 1.3, 1.6, 2.0])
def test_while_everything_starts(place: Place, after_s: float) -> None:
    """With Redis: the sample. The moment is arbitrary, so several are tried."""
    running = place.start("rehearse", "--speed", "50")
    time.sleep(after_s)  # no condition to wait for: it is the time that is varied
    running.signal(signal.SIGINT)
    done = running.end(within_s=20)
    assert done.exit_code in (130, -signal.SIGINT), done.err
    assert "Traceback" not in done.err or "KeyboardInterrupt" in done.err  # not even imported yet
    place.assert_nothing_left()


@pytest.mark.parametrize("moment", ["balancer", "tasks", "warming up", "draining", "finishing"])
def test_in_the_middle(place: Place, moment: str) -> None:
    running = place.start(*REHEARSE)
    match moment:
        case "balancer":
            wait_until(lambda: any("embedded" in " ".join(x.cmdline()) for x in place.processes()), "the balancer")
        case "tasks":
            running.wait_record("task", known="ACTIVATING")
        case "warming up":
            running.wait_record("session", event="opened")
        case "draining":
            running.wait_record("target", state="draining")
        case "finishing":
            running.wait_record("mark", name="steady")
    running.signal(signal.SIGINT)
    assert_stopped(place, running)


@NEEDS_NGINX
@pytest.mark.parametrize("moment", ["balancer", "draining"])
def test_behind_nginx(place: Place, moment: str) -> None:
    running = place.start(*REHEARSE, "--balancer", "nginx")
    if moment == "balancer":
        wait_until(lambda: any("nginx_agent" in " ".join(x.cmdline()) for x in place.processes()), "nginx's agent")
    else:
        running.wait_record("target", state="draining")
    running.signal(signal.SIGINT)
    assert_stopped(place, running)


def test_sigterm_in_the_middle(place: Place) -> None:
    running = place.start(*REHEARSE)
    running.wait_record("target", state="draining")
    running.signal(signal.SIGTERM)
    assert_stopped(place, running)


def test_impatience_changes_nothing(place: Place) -> None:
    running = place.start(*REHEARSE, "--env", "IGNORE_SIGTERM=1")
    running.wait_record("mark", name="warmed-up")
    running.signal(signal.SIGINT)
    running.wait_said("stopping: ending everything that was started ...")
    running.signal(signal.SIGINT)
    running.wait_said("still stopping ...")
    running.signal(signal.SIGTERM)
    assert_stopped(place, running)


def test_a_stage_that_is_up(place: Place) -> None:
    up = place.start("up", *QUICK, "--port", "0", "--command", TINY)
    up.wait_said("load balancer:")
    up.signal(signal.SIGINT)
    assert_stopped(place, up)


def test_a_waiting_deploy_leaves_the_stage_alone(place: Place) -> None:
    up = place.start("up", *QUICK, "--port", "0", "--command", TINY)
    up.wait_record("service_event", message="(service mcp-service) has reached a steady state.")
    deploy = place.start("deploy", "--force-new-deployment")
    deploy.wait_said("has started 2 tasks")
    deploy.signal(signal.SIGINT)
    done = deploy.end(within_s=10)
    assert done.exit_code == 130
    assert done.err.endswith("no longer waiting; the stage goes on\n")
    assert place.run("status").exit_code == 0
    assert place.run("down").exit_code == 0
    assert up.end().exit_code == 0


def test_a_probe_finishes_its_sessions(place: Place) -> None:
    up = place.start("up", *QUICK, "--port", "0", "--command", TINY)
    up.wait_record("service_event", message="(service mcp-service) has reached a steady state.")
    endpoint = next(word for word in up.out.split() if word.endswith("/mcp"))
    history = place.root / "probe.jsonl"
    probe = place.start("probe", "--endpoint", endpoint, "--calls", "0", "--delay", "0.1", "--history", str(history))
    wait_until(lambda: history.exists() and '"kind":"call"' in history.read_text(), "the first call")
    probe.signal(signal.SIGINT)
    done = probe.end(within_s=10)
    assert done.exit_code == 0, done.err
    assert '"session_complete": true' in done.out
    assert place.run("down").exit_code == 0
    assert up.end().exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_virtual_time(place: Place, number: signal.Signals) -> None:
    running = place.start("rehearse", "--stage", "sim", "--sessions", "60", "--delay", "1")
    running.wait_record("mark", name="deployment-triggered")
    running.signal(number)
    assert_stopped(place, running)
