"""Unmodified TypeScript clients through a balancer over two replicas of the sample server.

What the seed of this project met with: the SDK keeps no cookies, so stickiness is nothing to it, and the session that
one task has is unknown to the other.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from rollproof.core.settings import Stickiness
from rollproof.orchestrator.redis_server import provide_redis
from rollproof.probe.summary import summary
from tests.client.node import ProbeRun, RunningProbe, node, probe, running_probe
from tests.conformance.round_robin import NO_STICKINESS, round_robin
from tests.e2e.place import FAST, PATIENT, Place, wait_until
from tests.server.server_process import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

STATEFUL = {"MCP_STATELESS_HTTP": "false"}
MINTED = {"MCP_STATELESS_HTTP": "true", "MCP_MINT_SESSION_ID": "true"}
RESILIENT = {"MCP_SESSIONS": "resilient", "MCP_REQUEST_STATE_KEY": "k" * 32}
LEGACY = (("--sdk", "v1"), ("--sdk", "v2"))
MODERN = ("--sdk", "v2", "--era", "modern", "--handles")
STICKY = Stickiness(enabled=True, duration_s=60.0)
FEW = ("--calls", "4", "--delay", "0.05", "--request-timeout", "15")
SESSION_GONE = "404/-32600 Session not found"


@pytest.fixture(autouse=True)
def _node() -> None:
    node(packages=True)


@pytest.fixture
def directory() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp") as made:  # short: sockets are in it
        yield Path(made)


@asynccontextmanager
async def two_replicas(
    directory: Path, environment: Mapping[str, str], stickiness: Stickiness = NO_STICKINESS
) -> AsyncIterator[str]:
    """The endpoint before them."""
    async with AsyncExitStack() as stack:
        starting = [ServerProcess.run(environment) for _ in range(2)]
        servers = await asyncio.gather(*(stack.enter_async_context(each) for each in starting))
        balancer = await stack.enter_async_context(round_robin(directory, stickiness=stickiness))
        await balancer.publish([server.url.removeprefix("http://") for server in servers])
        yield f"{balancer.url}/mcp"


async def run(endpoint: str, *flags: str) -> ProbeRun:
    return await asyncio.to_thread(probe, endpoint, *FEW, *flags)


async def test_a_stateful_server_loses_the_sessions_of_clients_without_cookies(directory: Path) -> None:
    """One session, so that no other's requests shift whose turn it is: its second request meets the other replica."""
    async with two_replicas(directory, STATEFUL, STICKY) as endpoint:
        v1 = await run(endpoint, "--sdk", "v1")
        v2 = await run(endpoint, "--sdk", "v2", "--tools", "ping")
        full = await run(endpoint, "--sdk", "v1", "--cookies", "full", "--sessions", "3")
        first = await run(endpoint, "--sdk", "v2", "--cookies", "first", "--sessions", "3")
    assert (v1.exit_code, v1.summary["sessions_kept"]) == (1, 0)
    failed = v1.calls(tool="notifications/initialized")  # v1 gives up where it is told first
    assert {call["signature"] for call in failed} == {SESSION_GONE}
    assert len(failed) == 4
    assert v2.exit_code == 1
    assert SESSION_GONE in {call["signature"] for call in v2.calls()}
    for kept in (full, first):  # with a cookie jar the stickiness works, until a task is replaced
        assert (kept.exit_code, kept.summary["sessions_kept"]) == (0, 3), kept.records
        assert len(kept.summary["unique_task_ids"]) == 2


@pytest.mark.parametrize(
    ("environment", "clients"), [(MINTED, LEGACY), (RESILIENT, (*LEGACY, MODERN))], ids=["minted", "resilient"]
)
async def test_sessions_that_any_replica_serves_are_kept(
    directory: Path, environment: Mapping[str, str], clients: Sequence[Sequence[str]]
) -> None:
    redis = await provide_redis(directory)
    try:
        async with two_replicas(directory, {**environment, "REDIS_URL": redis.url}) as endpoint:
            runs = [await run(endpoint, *flags, "--sessions", "3", "--tools", "ping") for flags in clients]
    finally:
        await redis.stop()
    for kept in runs:
        assert (kept.exit_code, kept.err) == (0, ""), kept.records
        assert (kept.summary["sessions_kept"], kept.summary["error_rows"]) == (3, 0)
        assert kept.summary["max_state_size"] == 4
        for session in {call["session"] for call in kept.calls()}:
            assert len({call["task_id"] for call in kept.calls(session=session) if "task_id" in call}) == 2
        reference = summary(kept.records)  # the same records, counted by the other probe
        assert {name: kept.summary[name] for name in reference} == reference


def has_read(probe: RunningProbe, reads: int) -> bool:
    """Whether so many reads were well."""
    return sum(one.get("tool") == "get_session_state" and one["ok"] for one in probe.records) >= reads


async def test_ctrl_c_ends_the_sessions_and_still_sums_up() -> None:
    async with ServerProcess.run(STATEFUL) as server:
        flags = ("--delay", "0.2", "--sessions", "3", "--sdk", "v2")
        with running_probe(f"{server.url}/mcp", *flags) as running:
            await asyncio.to_thread(wait_until, lambda: has_read(running, 6), "six reads")
            done = await asyncio.to_thread(running.interrupt)
    closed = [record for record in done.records if record.get("event") == "closed"]
    assert [(record["reason"], record["delete_status"]) for record in closed] == [("stopped", 200)] * 3
    assert (done.exit_code, done.summary["sessions_kept"]) == (0, 3)


def test_a_deployment_ends_the_sessions_of_clients_with_cookies_too(place: Place) -> None:
    """On a local stage: the load balancer is sticky, the sessions are in a task's memory, the tasks are replaced."""
    up = place.start("up", *FAST, *PATIENT, "--port", "0", "--strategy", "memory")
    up.wait_record("service_event", message="(service mcp-fargate-service) has reached a steady state.")
    endpoint = next(word for word in up.out.split() if word.endswith("/mcp"))
    flags = ("--sdk", "v1", "--cookies", "full", "--sessions", "4", "--delay", "0.2", "--request-timeout", "10")
    with running_probe(endpoint, *flags) as running:
        wait_until(lambda: has_read(running, 8), "eight reads")
        before = len([one for one in running.records if one["kind"] == "call"])
        deployed = place.run("deploy", "--force-new-deployment")
        done = running.interrupt()
    assert deployed.exit_code == 0, deployed.err
    assert (place.run("down").exit_code, up.end().exit_code) == (0, 0)
    assert all(call["ok"] for call in done.calls()[:before])
    assert (done.exit_code, done.summary["sessions_kept"]) == (1, 0), done.summary
    assert done.summary["session_not_found_count"] > 0
