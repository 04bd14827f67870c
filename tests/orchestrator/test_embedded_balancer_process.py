"""The embedded balancer as a process of its own: started, found again, killed, stopped, refused."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Stickiness
from rollproof.orchestrator.balancers.control_server import pid_file
from rollproof.orchestrator.balancers.embedded import (
    BalancerOptions,
    EmbeddedBalancerClient,
    attach_balancer,
    serve,
    start_balancer,
    stop_balancer,
)
from rollproof.orchestrator.balancers.embedded.cookies import load_key
from rollproof.orchestrator.balancers.embedded.log_writer import LogWriter
from rollproof.orchestrator.balancers.embedded.process import MODULE
from rollproof.orchestrator.balancers.embedded.read_table import read_table
from rollproof.testing.balancer_target import DEADLINE_S, TargetServer
from rollproof.testing.balancer_wire import Wire, get
from tests.processes import children_running


@pytest.fixture
def options(tmp_path: Path) -> BalancerOptions:
    return BalancerOptions(
        access_log=tmp_path / "access.log", control=tmp_path / "run" / "c.sock", key_file=tmp_path / "cookies.key"
    )


@pytest.fixture
async def target() -> AsyncIterator[TargetServer]:
    server = TargetServer("a")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def control(options: BalancerOptions) -> AsyncIterator[Path]:
    """The socket's path; whatever a test left behind it is stopped."""
    assert options.control is not None
    yield options.control
    await stop_balancer(options.control, grace_s=0.0)


def table(*targets: TargetServer, generation: int = 1) -> RoutingTable:
    rows = tuple(RoutableTarget(f"id-{t.name}", t.address, "healthy", new=True, sticky=True) for t in targets)
    return RoutingTable(generation, (NodeTable("node-0", rows),), stickiness=Stickiness(enabled=True))


async def port_of(client: EmbeddedBalancerClient) -> int:
    return int(str((await client.health())["listen"]).rpartition(":")[2])


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def ask(port: int, data: bytes) -> tuple[int, str]:
    async with await Wire.to(port) as wire:
        answer = await wire.ask(data)
        return answer.status, answer.cookie


async def test_a_balancer_outlives_whoever_started_it_and_is_found_again(
    options: BalancerOptions, control: Path, target: TargetServer
) -> None:
    client = await start_balancer(options)
    health = await client.health()
    assert os.getsid(int(health["pid"])) == health["pid"]
    assert int(pid_file(control).read_text()) == health["pid"]
    assert mode_of(control) == 0o600
    await client.publish(table(target, generation=7))

    found = await attach_balancer(control)
    assert (await found.table()) == table(target, generation=7)
    assert (await ask(await port_of(found), get("/hello")))[0] == 200
    assert (await found.counters())["id-a"].requests == 1
    _, entry = await anext(found.access_log(0))
    assert entry.target == "id-a"

    await stop_balancer(control)
    assert os.listdir(control.parent) == ["c.sock.log"]
    with pytest.raises(Temporary, match=r"c\.sock"):
        await found.publish(table(target))


async def test_cookies_and_log_survive_a_killed_balancer(
    options: BalancerOptions, control: Path, target: TargetServer
) -> None:
    other = TargetServer("b")
    await other.start()
    client = await start_balancer(options)
    await client.publish(table(target))
    _, cookie = await ask(await port_of(client), get("/hello"))
    assert options.key_file is not None
    assert mode_of(options.key_file) == 0o600
    await anext(client.access_log(0))
    psutil.Process(int((await client.health())["pid"])).kill()

    again = await start_balancer(options)  # its socket and pid file were left behind
    await again.publish(table(other, target))
    port = await port_of(again)
    for _ in range(4):
        await ask(port, get("/hello", Cookie=cookie))
    assert (len(target.requests), len(other.requests)) == (5, 0)
    log = again.access_log(0)
    assert [(await anext(log))[1].target for _ in range(5)] == ["id-a"] * 5
    await other.stop()


async def test_sigterm_lets_a_request_in_flight_end(
    options: BalancerOptions, control: Path, target: TargetServer
) -> None:
    client = await start_balancer(options)
    await client.publish(table(target))
    async with await Wire.to(await port_of(client)) as wire:
        wire.send(get("/wait"))
        await target.wait_until(lambda: len(target.requests) == 1)
        os.kill(int(pid_file(control).read_text()), signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            while (await client.health())["status"] != "stopping":
                await asyncio.sleep(0)
        target.go.set()
        assert (await wire.response()).body == b"a"
        assert await wire.until_closed() == b""


async def test_a_port_in_use_is_named_with_its_holder_and_nothing_is_left_running(
    options: BalancerOptions, control: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            UsageError, match=rf"port {port} on 127\.0\.0\.1 is already in use.*pid {os.getpid()}"
        ) as no:
            await start_balancer(replace(options, port=port))
    assert "another port" in no.value.hint
    assert children_running(MODULE) == []


async def test_a_second_balancer_behind_the_same_socket_is_refused(options: BalancerOptions, control: Path) -> None:
    client = await start_balancer(options)
    with pytest.raises(UsageError, match="another balancer already serves"):
        await start_balancer(options)
    assert (await client.health())["status"] == "ok"


async def test_a_socket_path_that_is_too_long_is_refused_before_anything_starts(tmp_path: Path) -> None:
    control = tmp_path / ("x" * 100)
    with pytest.raises(UsageError, match="at most 100"):
        await start_balancer(BalancerOptions(tmp_path / "access.log", control=control))
    with pytest.raises(UsageError, match="at most 100"):
        EmbeddedBalancerClient(control, tmp_path / "access.log")


async def test_a_balancer_without_control_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="control socket"):
        await start_balancer(BalancerOptions(tmp_path / "access.log"))


async def test_stopping_what_does_not_run_is_no_error_and_kills_no_stranger(tmp_path: Path) -> None:
    control = tmp_path / "c.sock"
    pid_file(control).write_text(f"{os.getpid()}\n")
    await stop_balancer(control)
    assert not pid_file(control).exists()


def test_the_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", MODULE, "--control", str(tmp_path / "c.sock"), "--access-log", str(tmp_path / "a")]
    done = subprocess.run([*command, "--listen", "nonsense"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (2, "--listen nonsense is not HOST:PORT\n")


# --- what it is told -----------------------------------------------------------------------------------------


def told(**changes: Any) -> dict[str, Any]:
    """A table as JSON; `changes` by dotted path with "__" for the dots."""
    row = RoutableTarget("id-a", "127.0.0.1:80", "healthy", new=True, sticky=True)
    data: dict[str, Any] = json.loads(json.dumps(RoutingTable(1, (NodeTable("node-0", (row,)),)).to_json()))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place: Any = data
        for name in parents:
            place = place[int(name) if name.isdigit() else name]
        place[last] = value
    return data


def test_a_table_survives_the_way_over_the_wire() -> None:
    assert read_table(told()).to_json() == RoutingTable.from_json(told()).to_json()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "not a routing table"),
        ([], "not a routing table"),
        (told(generation="x"), "invalid literal"),
        (told(generation=-1), "below 0"),
        (told(nodes=[]), "at least one node"),
        (told(nodes=told()["nodes"] * 2), "same id"),
        (told(nodes__0__targets=told()["nodes"][0]["targets"] * 2), "twice"),
        (told(nodes__0__id="a b"), "node id"),
        (told(nodes__0__targets__0__id='a"b'), "target id"),
        (told(nodes__0__targets__0__id=7), "target id"),
        (told(nodes__0__targets__0__new=1), "new of id-a"),
        (told(nodes__0__targets__0__sticky=None), "sticky of id-a"),
        (told(nodes__0__targets__0__slow_start_age_s="1"), "slow_start_age_s"),
        (told(nodes__0__targets__0__colour="red"), "colour"),
        (told(nodes__0__targets__0__address="nowhere"), "host:port"),
        (told(nodes__0__targets__0__address="127.0.0.1:0"), "host:port"),
        (told(nodes__0__targets__0__address="127.0.0.1:99999"), "host:port"),
        (told(nodes__0__targets__0__address=":80"), "host:port"),
        (told(algorithm="best"), "best"),
        (told(slow_start_s=-1), "slow_start_s"),
        (told(slow_start_s="nan"), "slow_start_s"),
        (told(target_group_arn="a\nb"), "ARN"),
        (told(stickiness__type="magic"), "magic"),
        (told(stickiness__enabled="yes"), "enabled"),
        (told(stickiness__duration_s=0), "duration_s"),
        (told(stickiness__cookie_name="a;b"), "cookie_name"),
        (told(load_balancer__idle_timeout_s="60"), "idle_timeout_s"),
        (told(load_balancer__idle_timeout_s=0), "idle_timeout_s"),
        (told(load_balancer__idle_timeout_s=True), "idle_timeout_s"),
        (told(load_balancer__name="a b"), "name"),
        (told(load_balancer__listener_port=0), "listener_port"),
        (told(load_balancer__xff_mode="double"), "xff_mode"),
        (told(load_balancer__volume=11), "volume"),
    ],
)
def test_what_is_no_table_is_named(data: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_table(data)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /v1/nothing HTTP/1.1\r\n\r\n", b"404"),
        (b"DELETE /v1/table HTTP/1.1\r\n\r\n", b"405"),
        (b"PUT /v1/table HTTP/1.1\r\nContent-Length: 4\r\n\r\n{no}", b"400"),
        (b"POST /v1/cut HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]", b"400"),
        (b'POST /v1/stop HTTP/1.1\r\nContent-Length: 15\r\n\r\n{"grace_s": -1}', b"400"),
        (b"nonsense\r\n\r\n", b""),
        (b"PUT /v1/table HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b""),
    ],
)
async def test_the_control_socket_refuses_what_it_does_not_understand(
    tmp_path: Path, request_: bytes, status: bytes
) -> None:
    options = BalancerOptions(access_log=tmp_path / "access.log", control=tmp_path / "c.sock")
    async with serve(options), asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_unix_connection(str(options.control))
        writer.write(request_)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        assert answer[9:12] == status
        assert (await EmbeddedBalancerClient(tmp_path / "c.sock", options.access_log).health())["status"] == "ok"


# --- its files ----------------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = load_key(path)
    assert (len(key), load_key(path)) == (32, key)


def test_a_key_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"short")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="others may read"):
        load_key(path)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="5 bytes"):
        load_key(path)
    with pytest.raises(UsageError, match="cannot write"):
        load_key(tmp_path / "none" / "key")


class Line:
    """An entry that is its own line."""

    def __init__(self, text: str) -> None:
        self.text = text

    def log_line(self) -> str:
        return self.text


async def test_the_log_is_written_soon_and_starts_on_a_new_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "access.log"
    path.parent.mkdir()
    path.write_text("torn")
    log = LogWriter(path)
    log.write(Line("one"))
    async with asyncio.timeout(DEADLINE_S):
        while "one" not in path.read_text():
            await asyncio.sleep(0.01)
    log.write(Line("two"))
    log.close()
    assert path.read_text() == "torn\none\ntwo\n"


async def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    log = LogWriter(Path("/dev/full"))
    log.write(Line("one"))
    log.write(Line("two"))
    log.flush()
    assert log.lost == 2
    log.close()


async def test_a_log_that_shrank_is_not_the_one_read_before(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("short\n")
    with pytest.raises(Permanent, match="fewer than the 100 already read"):
        await anext(EmbeddedBalancerClient(tmp_path / "c.sock", path).access_log(100))
