"""Parts of the project are killed while targets drain: what is lost, and that the stack recovers by itself.

docs/reliability.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from rollproof.probe.answer import CONNECT_ERROR, CONNECTION_CLOSED, STREAM_ENDED, TIMEOUT
from tests.e2e.docker.project import PATIENT, QUICK, Compose, Rehearsed, project, wait_until

RECOVERED_WITHIN_S = 15.0
NO_BALANCER = {CONNECT_ERROR, CONNECTION_CLOSED, STREAM_ENDED, TIMEOUT, "502", "503"}
"""What a client meets while there is none, or one without a table."""


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    with project(
        tmp_path_factory.mktemp("runs"), "10.213.253", ROLLPROOF_SET=f"{PATIENT} deregistration_delay_s=150"
    ) as compose:
        yield compose


def rehearse_and_kill(compose: Compose, part: str) -> Rehearsed:
    """`docker compose kill` of the part, once the old targets drain."""
    said: list[str] = []
    with compose.start("rehearse", *QUICK, "--json") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            said.append(line)
            if "has begun draining" in line:
                break
        compose.done("kill", part)
        rest = Thread(target=said.extend, args=(process.stderr,))
        rest.start()
        out = process.stdout.read()
        rest.join()
    return Rehearsed.of(process.returncode, out, "".join(said))


def outage_s(done: Rehearsed) -> float:
    times = [record["t"] for record in done.records("call", ok=False)]
    return max(times) - min(times) if times else 0.0


def test_the_orchestrator_goes_on_where_it_was_and_no_call_is_lost(compose: Compose) -> None:
    done = rehearse_and_kill(compose, "orchestrator")
    assert (done.code, done.summary["error_rows"]) == (0, 0), done.summary
    assert done.records("orchestrator", event="adopted")
    assert done.records("service_event")[-1]["message"].endswith("has reached a steady state.")


def test_nginx_is_back_in_seconds_and_no_session_is_lost(compose: Compose) -> None:
    done = rehearse_and_kill(compose, "lb")
    assert done.code == 0, done.summary
    assert done.summary["session_counts"]["lost"] == 0
    assert done.records("fault", name="balancer-died")
    failed = done.records("call", ok=False)
    assert failed
    assert {record["signature"] for record in failed} <= NO_BALANCER
    assert outage_s(done) < RECOVERED_WITHIN_S


def test_a_single_redis_node_forgets_and_the_verdict_says_so(compose: Compose) -> None:
    done = rehearse_and_kill(compose, "redis")
    assert (done.code, done.summary["verdict"]) == (1, "fail"), done.summary
    assert done.summary["session_counts"]["lost"] > 0
    signatures = {record["signature"] for record in done.records("call", ok=False)}
    assert any("session store is unavailable" in signature for signature in signatures), signatures
    assert "state-missing" in signatures
    assert "redis" in compose.done("ps", "--services", "--status", "running").split()


def test_the_stack_then_serves_a_new_rehearsal_as_if_nothing_had_been(compose: Compose) -> None:
    wait_until(lambda: compose.ask("status")["is_steady"], "a steady state")
    assert compose.rehearse().code == 0
