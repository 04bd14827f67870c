"""nginx and its agent as processes: started, reloaded, killed, adopted, refused; and what only nginx does its way."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Algorithm, LoadBalancerSettings, Stickiness
from rollproof.orchestrator.balancers.embedded import BalancerOptions, serve
from rollproof.orchestrator.balancers.nginx import (
    MODULE,
    NginxBalancerClient,
    NginxOptions,
    attach_nginx,
    is_nginx_running,
    start_nginx,
    stop_nginx,
)
from rollproof.orchestrator.balancers.nginx_binary import examine, find_nginx
from rollproof.orchestrator.balancers.nginx_config import Shape
from rollproof.orchestrator.balancers.nginx_options import listen_on
from rollproof.testing.balancer_play import APP_COOKIE, ARN, LB_COOKIE, Play, PlayFixtures
from rollproof.testing.balancer_target import DEADLINE_S, TargetServer
from rollproof.testing.balancer_wire import Wire, get, request
from tests.orchestrator.test_nginx_balancer import NEEDS_NGINX, ProcessStage
from tests.processes import children_running

pytestmark = [pytest.mark.e2e, NEEDS_NGINX]


@pytest.fixture
def options(tmp_path: Path) -> NginxOptions:
    control, key_file = tmp_path / "run" / "c.sock", tmp_path / "cookies.key"
    return NginxOptions(tmp_path / "access.log", control, key_file=key_file, shape=Shape(target_group_arn=ARN))


@pytest.fixture
async def target() -> AsyncIterator[TargetServer]:
    server = TargetServer("a")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def stage(options: NginxOptions) -> AsyncIterator[ProcessStage]:
    """Started without knowing its targets: they are connected to directly."""
    client = await start_nginx(options)
    yield ProcessStage(client, await port_of(client))
    await stop_nginx(options.control, grace_s=0.0)


@pytest.fixture
async def play(stage: ProcessStage, target: TargetServer) -> Play:
    return Play(stage, target)


async def port_of(client: NginxBalancerClient) -> int:
    return int(str((await client.health())["listen"]).rpartition(":")[2])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def master_of(play: Play) -> psutil.Process:
    return psutil.Process((await play.stage.control("GET", "/v1/health"))[1]["nginx_pid"])


# --- its life -------------------------------------------------------------------------------------------


async def test_nginx_outlives_whoever_started_it_and_is_found_again(options: NginxOptions, play: Play) -> None:
    table = await play.publish("a")
    found = await attach_nginx(options.control)
    assert await found.table() == table
    assert stat.S_IMODE(options.control.stat().st_mode) == 0o600
    assert os.getsid((await found.health())["pid"]) == (await found.health())["pid"]
    await stop_nginx(options.control)
    assert not is_nginx_running(options.control)
    assert os.listdir(options.control.parent) == ["c.sock.log"]
    with pytest.raises(Temporary, match=r"c\.sock"):
        await found.publish(table)


async def test_nginx_dies_with_its_agent_and_the_next_one_takes_its_place(options: NginxOptions, play: Play) -> None:
    await play.publish("a", stickiness=LB_COOKIE)
    master = await master_of(play)
    cookie = (await play.ask(get("/hello"))).cookie
    psutil.Process((await play.stage.control("GET", "/v1/health"))[1]["pid"]).kill()
    await until(lambda: not master.is_running() or master.status() == psutil.STATUS_ZOMBIE)
    client = await start_nginx(options)  # the socket and the pid file were left behind
    again = Play(ProcessStage(client, await port_of(client)), *play.targets)
    await again.publish("a", stickiness=LB_COOKIE)
    await again.ask(get("/hello", Cookie=cookie))
    assert (await again.stage.control("GET", "/v1/counters"))[1]["totals"]["NonStickyRequestCount"] == 0


async def test_an_agent_ends_when_its_nginx_dies_and_leaves_no_worker(options: NginxOptions, play: Play) -> None:
    master = await master_of(play)
    workers = master.children()
    master.kill()
    await until(lambda: not is_nginx_running(options.control))
    await until(lambda: not any(worker.is_running() for worker in workers))


async def test_a_worker_that_dies_takes_its_requests_with_it_and_the_table_stays(
    play: Play, target: TargetServer
) -> None:
    await play.publish("a")
    master = await master_of(play)
    async with await play.wire() as wire:
        wire.send(get("/wait"))
        await target.wait_until(lambda: len(target.requests) == 1)
        (worker,) = master.children()
        worker.kill()
        assert await wire.until_closed() == b""
    await until(lambda: any(child.pid != worker.pid for child in master.children()))
    assert (await play.ask(get("/hello"))).body == b"a"
    async with asyncio.timeout(DEADLINE_S):
        while await play.outstanding():
            await asyncio.sleep(0.02)


async def test_sigterm_lets_a_request_in_flight_end(options: NginxOptions, play: Play, target: TargetServer) -> None:
    await play.publish("a")
    async with await play.wire() as wire:
        wire.send(get("/wait"))
        await target.wait_until(lambda: len(target.requests) == 1)
        os.kill((await play.stage.control("GET", "/v1/health"))[1]["pid"], signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            while (await play.stage.control("GET", "/v1/health"))[1]["status"] != "stopping":
                await asyncio.sleep(0)
        target.go.set()
        assert (await wire.response()).body == b"a"


async def test_changed_attributes_are_in_force_when_publish_returns_and_cost_no_request(
    play: Play, target: TargetServer
) -> None:
    await play.publish("a")
    async with await play.wire() as waiting:
        waiting.send(get("/wait"))
        await target.wait_until(lambda: len(target.requests) == 1)
        await play.publish("a", load_balancer=LoadBalancerSettings(listener_port=8443, listener_protocol="HTTPS"))
        assert (await play.ask(get("/hello"))).body == b"a"
        assert target.requests[1].header("x-forwarded-port") == "8443"
        assert target.requests[1].header("host") == "lb.example:8443"
        target.go.set()
        assert (await waiting.response()).body == b"a"
    assert (await play.stage.balancer.counters())["id-a"].requests == 2


async def test_the_rendered_configuration_has_nothing_to_object_to(options: NginxOptions, play: Play) -> None:
    await play.publish("a", stickiness=APP_COOKIE, load_balancer=LoadBalancerSettings(xff_client_port=True))
    state = options.control.with_name("c.sock.d")
    (config := state / "trial.conf").write_text((state / "nginx.conf").read_text().replace("n.sock", "trial.sock"))
    command = [str(find_nginx().path), "-t", "-p", str(state), "-c", str(config), "-e", "stderr"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not [line for line in done.stderr.splitlines() if "[warn]" in line or "[emerg]" in line]


# --- what is refused --------------------------------------------------------------------------------------


async def test_a_port_in_use_is_named_and_nothing_is_left_running(options: NginxOptions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port} on 127\.0\.0\.1 is already in use") as no:
            await start_nginx(replace(options, port=port))
    assert "another port" in no.value.hint
    assert children_running(MODULE) == []


async def test_a_second_one_behind_the_same_socket_is_refused(options: NginxOptions, stage: ProcessStage) -> None:
    with pytest.raises(UsageError, match="another balancer already serves"):
        await start_nginx(options)
    assert (await stage.balancer.health())["status"] == "ok"


async def test_a_path_that_leaves_no_room_for_nginxs_own_socket_is_refused(options: NginxOptions) -> None:
    room = 100 - len(str(options.control.parent)) - 1  # for the control socket, whose directory is nginx's
    control = options.control.with_name("x" * room)
    with pytest.raises(UsageError, match="at most 100"):
        await start_nginx(replace(options, control=control))
    assert not control.parent.exists()


async def test_a_slot_that_is_no_address_is_refused(options: NginxOptions) -> None:
    with pytest.raises(UsageError, match="slot somewhere"):
        await start_nginx(replace(options, slots=("somewhere",)))


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo hello", "is not nginx"),
        ("echo nginx version: nginx/1.26.3; echo 'unknown directive \"js_path\"'", "no njs module"),
        ("echo nginx version: nginx/1.22.1; echo 'unknown directive \"js_shared_dict_zone\"'", "njs is too old"),
    ],
)
async def test_an_nginx_that_will_not_do_is_refused_with_the_reason(
    tmp_path: Path, options: NginxOptions, text: str, reason: str
) -> None:
    binary = program(tmp_path / "nginx", text)
    with pytest.raises(UsageError, match=reason):
        examine(binary)
    with pytest.raises(UsageError, match=reason) as no:
        await start_nginx(replace(options, binary=binary))
    assert "pip install" in no.value.hint


async def test_what_nginx_cannot_play_is_refused_by_name(play: Play) -> None:
    with pytest.raises(Permanent, match="Server header") as no:
        await play.publish("a", load_balancer=LoadBalancerSettings(server_header=False))
    assert "embedded balancer" in no.value.hint


# --- cookies of the other balancer ------------------------------------------------------------------------


class TestCookiesOfTheEmbeddedBalancer(PlayFixtures):
    @pytest.mark.parametrize("stickiness", [LB_COOKIE, APP_COOKIE], ids=["lb_cookie", "app_cookie"])
    @pytest.mark.parametrize("first", ["nginx", "embedded"])
    async def test_bind_here_too_and_the_other_way_round(
        self,
        options: NginxOptions,
        stage: ProcessStage,
        targets: tuple[TargetServer, ...],
        stickiness: Stickiness,
        first: str,
    ) -> None:
        control = options.control.with_name("e.sock")
        other = BalancerOptions(options.access_log.with_name("e.log"), control=control, key_file=options.key_file)
        async with serve(other) as embedded:
            plays = {
                "nginx": Play(stage, *targets),
                "embedded": Play(ProcessStage(NginxBalancerClient(control), embedded.port), *targets),
            }
            for play in plays.values():
                await play.publish("a b", stickiness=stickiness)
            giver = plays.pop(first)
            (taker,) = plays.values()
            cookie = (await giver.ask(get("/cookie"))).cookie
            bodies = {(await taker.ask(get("/hello", Cookie=cookie))).body for _ in range(4)}
            assert bodies == {b"a"}
            counters = (await taker.stage.control("GET", "/v1/counters"))[1]
            assert counters["totals"]["NonStickyRequestCount"] == 0


# --- requests and responses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("incoming", "expected"),
    [
        ({}, r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}"),
        (
            {"X_Amzn_Trace_Id": "Root=1-a-b;CalledFrom=app"},
            r"Self=1-[0-9a-f]{8}-[0-9a-f]{24};Root=1-a-b;CalledFrom=app",
        ),
        ({"X_Amzn_Trace_Id": "Self=1-x;Root=1-a-b"}, r"Self=1-[0-9a-f]{8}-[0-9a-f]{24};Root=1-a-b"),
        ({"X_Amzn_Trace_Id": "CalledFrom=app"}, r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};CalledFrom=app"),
    ],
)
async def test_the_trace_id_is_made_or_extended(
    play: Play, target: TargetServer, incoming: dict[str, str], expected: str
) -> None:
    await play.publish("a")
    await play.ask(get("/hello", **incoming))
    assert re.fullmatch(expected, target.requests[0].header("x-amzn-trace-id") or "")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (LoadBalancerSettings(), "1.1.1.1, 127.0.0.1"),
        (LoadBalancerSettings(xff_client_port=True), r"1.1.1.1, 127.0.0.1:PORT"),
        (LoadBalancerSettings(xff_mode="preserve"), "1.1.1.1"),
        (LoadBalancerSettings(xff_mode="remove"), None),
    ],
)
async def test_x_forwarded_for_as_the_attributes_say(
    play: Play, target: TargetServer, settings: LoadBalancerSettings, expected: str | None
) -> None:
    await play.publish("a", load_balancer=settings)
    async with await play.wire() as wire:
        await wire.ask(get("/hello", X_Forwarded_For="1.1.1.1"))
        port = wire.writer.get_extra_info("sockname")[1]
    value = target.requests[0].header("x-forwarded-for")
    assert value == (expected and expected.replace("PORT", str(port)))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, id="tls_hello"),
        pytest.param(b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\n\r\n", 400, id="endless_request_line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 12_000, 400, id="endless_headers"),
        pytest.param(request("TRACE", "/"), 405, id="trace"),
        pytest.param(get("/", Transfer_Encoding="gzip"), 501, id="gzip"),
        pytest.param(get("/", X_Forwarded_For=",".join(["1.1.1.1"] * 31)), 463, id="many_forwarded"),
        pytest.param(get("/").replace(b"1.1\r", b"2.0\r"), 505, id="version"),
        pytest.param(
            request("POST", "/", Content_Length="6", Transfer_Encoding="chunked") + b"0\r\n\r\n", 400, id="cl_te"
        ),
    ],
)
async def test_what_is_refused_is_answered_as_an_alb_does_and_never_forwarded(
    play: Play, target: TargetServer, data: bytes, status: int
) -> None:
    await play.publish("a")
    answer = await play.ask(data)
    assert (answer.status, answer.header("server"), answer.header("content-type")) == (
        status,
        "awselb/2.0",
        "text/html",
    )
    assert f"<h1>{status}".encode() in answer.body
    assert target.requests == []
    (entry,) = await play.entries(1)
    assert (entry.elb_status_code, entry.target, entry.request_processing_time) == (str(status), "-", -1.0)
    assert await play.outstanding() == 0


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/close", "TargetClosedConnection"), ("/headers-33k", "TargetClosedConnection")],
)
async def test_what_is_no_answer_is_502_with_a_reason_in_the_log(play: Play, path: str, reason: str) -> None:
    await play.publish("a")
    assert (await play.ask(get(path))).status == 502
    (entry,) = await play.entries(1)
    assert (entry.elb_status_code, entry.target_status_code, entry.error_reason) == ("502", "-", reason)


async def test_a_cut_is_named_in_the_log(play: Play, target: TargetServer) -> None:
    await play.publish("a")
    async with await play.wire() as wire:
        wire.send(get("/wait"))
        await target.wait_until(lambda: len(target.requests) == 1)
        await play.stage.balancer.cut("id-a")
        await wire.response()
    assert [e.error_reason for e in await play.entries(1)] == ["DeregistrationDelayElapsed"]


async def test_response_headers_of_31_kib_pass(play: Play) -> None:
    await play.publish("a")
    assert len((await play.ask(get("/headers-31k"))).header("x-big") or "") == 31 * 1024


async def test_a_target_nobody_declared_is_reached_all_the_same(play: Play, target: TargetServer) -> None:
    await play.publish("a")
    async with await play.wire() as wire:
        assert [(await wire.ask(get("/hello"))).body for _ in range(3)] == [b"a"] * 3
    assert target.connections == 3


async def test_where_sockets_cannot_be_shut_a_stream_ends_at_its_next_chunk(
    options: NginxOptions, target: TargetServer
) -> None:
    options = replace(options, cut="chunk")
    client = await start_nginx(options)
    try:
        play = Play(ProcessStage(client, await port_of(client)), target)
        assert (await client.health())["cut"] == "next chunk"
        await play.publish("a")
        async with await play.wire() as wire:
            wire.send(get("/stream"))
            await wire.head()
            assert await wire.chunk() == b"data: 1\n\n"
            assert await client.cut("id-a") == 1
            target.go.set()
            assert b"data: 2" not in await wire.until_closed()
    finally:
        await stop_nginx(options.control, grace_s=0.0)


async def test_a_log_on_another_machine_comes_over_the_control_port(
    options: NginxOptions, target: TargetServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        control = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["--control", control, "--access-log", str(options.access_log), "--state", str(options.control.parent)]
    agent = subprocess.Popen([sys.executable, "-m", MODULE, *command])  # noqa: ASYNC220 - a millisecond
    client = NginxBalancerClient(control)
    try:
        async with asyncio.timeout(DEADLINE_S * 3):
            while True:
                try:
                    play = Play(ProcessStage(client, await port_of(client)), target)
                    break
                except Temporary:
                    await asyncio.sleep(0.02)
        await play.publish("a")
        await play.ask(get("/first"))
        await play.ask(get("/second"))
        entries = await play.entries(2)
        assert [e.request.split("/")[3] for e in entries] == ["first HTTP", "second HTTP"]
        with pytest.raises(Permanent, match="fewer than the 100000 already read"):
            await anext(client.access_log(100_000))
    finally:
        agent.terminate()
        agent.wait(DEADLINE_S)


@pytest.mark.fidelity("ALB-HTTP-26", source="ALB-UG/load-balancer-cloudwatch-metrics", mark="doc")
async def test_counters_have_cloudwatchs_names(play: Play) -> None:
    await play.publish("a")
    await play.ask(get("/500"))
    await play.ask(get("/hello"))
    await play.ask(get("/close"))
    await play.ask(request("TRACE", "/"))
    totals = (await play.stage.control("GET", "/v1/counters"))[1]["totals"]
    names = ("RequestCount", "HTTPCode_Target_2XX_Count", "HTTPCode_Target_5XX_Count", "HTTPCode_ELB_502_Count")
    assert [totals[name] for name in names] == [4, 1, 1, 1]
    assert totals["HTTPCode_ELB_4XX_Count"] == 1
    assert json.dumps(totals)


async def test_a_target_in_slow_start_gets_its_share_of_its_turns(play: Play, target: TargetServer) -> None:
    full = RoutableTarget("id-a", target.address, "healthy", new=True, sticky=True)
    ramping = RoutableTarget("id-b", "127.0.0.1:1", "healthy", new=True, sticky=True, slow_start_age_s=0.0)
    for generation, algorithm in enumerate((Algorithm.ROUND_ROBIN, Algorithm.WEIGHTED_RANDOM), 1):
        nodes = (NodeTable("node-0", (full, ramping)),)
        table = RoutingTable(generation, nodes, algorithm=algorithm, slow_start_s=100_000.0, target_group_arn=ARN)
        await play.stage.balancer.publish(table)
        async with await play.wire() as wire:
            assert {(await wire.ask(get("/hello"))).status for _ in range(20)} == {200}


def test_a_worker_that_comes_second_to_a_connection_does_not_wait_for_the_next() -> None:
    with listen_on("127.0.0.1", 0) as listening, pytest.raises(BlockingIOError):
        listening.accept()


async def test_two_workers_share_table_turn_and_counters(options: NginxOptions, target: TargetServer) -> None:
    other = TargetServer("b")
    await other.start()
    client = await start_nginx(replace(options, workers=2))
    try:
        play = Play(ProcessStage(client, await port_of(client)), target, other)
        await play.publish("a b")
        wires = [await Wire.to(play.stage.port) for _ in range(8)]
        bodies = [(await wire.ask(get("/hello"))).body for wire in wires for _ in range(2)]
        assert bodies == [b"a", b"b"] * 8
        for wire in wires:
            wire.writer.transport.abort()
    finally:
        await stop_nginx(options.control, grace_s=0.0)
        await other.stop()
