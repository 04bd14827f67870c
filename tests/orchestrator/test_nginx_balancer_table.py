"""What a table becomes for nginx: strings for lb/alb.js, a configuration, counters. No nginx runs here."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import (
    Algorithm,
    LoadBalancerSettings,
    PlatformSettings,
    Routing,
    Stickiness,
    StickinessType,
)
from rollproof.core.stickiness import target_key
from rollproof.orchestrator.balancers.nginx_config import (
    Installation,
    Shape,
    check_shape,
    expand_slots,
    render,
    shape_from_json,
    shape_of,
    shape_to_json,
)
from rollproof.orchestrator.balancers.nginx_options import find_assets
from rollproof.orchestrator.balancers.nginx_sockets import can_shut, connections, shut
from rollproof.orchestrator.balancers.nginx_table import check_table, counters, long_names, outstanding, state

KEY = bytes(range(32))
A = RoutableTarget("10.0.0.1:8000", "127.0.0.1:1001", "healthy", new=True, sticky=True)
B = RoutableTarget("10.0.0.2:8000", "127.0.0.1:1002", "draining", new=False, sticky=True)
RAMPING = RoutableTarget("10.0.0.3:8000", "127.0.0.1:1003", "healthy", new=True, sticky=True, slow_start_age_s=2.5)
STICKY = Stickiness(enabled=True, duration_s=60.0)


def table(*targets: RoutableTarget, **changes: object) -> RoutingTable:
    return replace(RoutingTable(3, (NodeTable("node-0", targets), NodeTable("node-1", targets[:1]))), **changes)  # type: ignore[arg-type]


def strings(of: RoutingTable) -> dict[str, str]:
    addresses = {t.address: t.address for node in of.nodes for t in node.targets}
    names = long_names(t.id for node in of.nodes for t in node.targets)
    return state(of, KEY, addresses, names, published_at=1000.5, version=65537)


def test_the_sticky_lines_name_who_a_cookie_still_reaches_on_each_node() -> None:
    a, b = A.id.encode().hex(), B.id.encode().hex()
    assert strings(table(A, B, stickiness=STICKY))["sticky"] == (
        f"1 2 0001\n0 0001{a} {A.id} {A.address}\n0 0001{b} {B.id} {B.address}\n1 0001{a} {A.id} {A.address}\n"
    )
    assert strings(table(A, B))["sticky"] == "0 2 0001\n"


def test_the_choice_lines_name_who_may_be_chosen_and_who_ramps() -> None:
    made = strings(table(A, B, RAMPING, slow_start_s=30.0))
    assert made["choice0"] == f"round_robin 30000 1000500\n{A.id} {A.address} -1\n{RAMPING.id} {RAMPING.address} 2500"
    assert made["choice1"] == f"round_robin 0 1000500\n{A.id} {A.address} -1"
    assert strings(table(B))["choice0"] == ""


def test_slow_start_is_skipped_where_nobody_could_take_the_rest() -> None:
    assert " 2500" not in strings(table(RAMPING, slow_start_s=30.0))["choice0"]


def test_the_secret_holds_what_a_cookie_needs_and_long_ids_as_their_digest() -> None:
    long = replace(A, id="x" * 60)
    secret = json.loads(strings(table(long, A, stickiness=STICKY, target_group_arn="arn:x"))["secret"])
    assert secret["key"] == KEY.hex()
    assert bytes.fromhex(secret["context"]) == b"AWSALB\0arn:x"
    assert secret["names"] == {long.id: target_key(long.id).hex()}
    assert (secret["size"], secret["prefix"], secret["duration_ms"]) == (65, 0, 60_000)


@pytest.mark.parametrize(("duration_s", "keep_ms"), [(86_400.0, 1000), (60.0, 60), (1.0, 0)])
def test_a_sealed_cookie_is_handed_out_for_a_thousandth_of_its_duration(duration_s: float, keep_ms: float) -> None:
    made = strings(table(A, stickiness=replace(STICKY, duration_s=duration_s)))
    assert json.loads(made["secret"])["keep_ms"] == keep_ms


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nodes": []}, "at least one node"),
        ({"nodes": [{"id": f"n{n}", "targets": []} for n in range(10)]}, "at most 9"),
        ({"nodes": [{"id": "n", "targets": []}] * 2}, "two nodes"),
        ({"nodes": [{"id": "n", "targets": [A.__dict__] * 2}]}, "stands twice"),
        ({"nodes": [{"id": "n", "targets": [{**A.__dict__, "id": "a b"}]}]}, "target id"),
        ({"nodes": [{"id": "n", "targets": [{**A.__dict__, "id": 'a"'}]}]}, "target id"),
        ({"nodes": [{"id": "n", "targets": [{**A.__dict__, "new": 1}]}]}, "true or false"),
        ({"nodes": [{"id": "n", "targets": [{**A.__dict__, "address": "nowhere"}]}]}, "host:port"),
    ],
)
def test_what_is_no_table_is_refused_with_a_reason(change: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        check_table({**table(A).to_json(), **change})


# --- the configuration --------------------------------------------------------------------------------------


def installation(tmp_path: Path) -> Installation:
    return Installation("127.0.0.1:80", tmp_path, tmp_path / "n.sock", find_assets(), tmp_path / "log", "b" * 24)


def test_every_placeholder_is_filled_in(tmp_path: Path) -> None:
    text = render((find_assets() / "nginx.conf").read_text(), installation(tmp_path), Shape(target_group_arn="arn:x"))
    assert "@{" not in text.replace("@{...}", "")
    assert "js_body_filter" not in text
    assert "add_header Set-Cookie $alb_set always;" in text


def test_only_what_a_table_needs_runs_for_each_response(tmp_path: Path) -> None:
    template = (find_assets() / "nginx.conf").read_text()
    app = table(A, stickiness=Stickiness(enabled=True, type=StickinessType.APP_COOKIE, cookie_name="SID"))
    text = render(template, replace(installation(tmp_path), can_shut_sockets=False), shape_of(app))
    assert "js_header_filter response.filter;" in text
    assert "js_body_filter response.chunk" in text
    assert "add_header" not in text


@pytest.mark.parametrize(
    "shape",
    [
        Shape(target_group_arn='x"; evil'),
        Shape(app_cookie="a;b"),
        Shape(LoadBalancerSettings(xff_mode="other")),
        Shape(LoadBalancerSettings(listener_port=0)),
        Shape(LoadBalancerSettings(idle_timeout_s=-1.0)),
    ],
)
def test_what_could_not_stand_in_a_configuration_is_refused(shape: Shape) -> None:
    with pytest.raises(UsageError, match="not a routing table"):
        check_shape(shape)
    with pytest.raises(UsageError):
        shape_from_json(shape_to_json(shape))


def test_a_shape_survives_the_command_line() -> None:
    shape = Shape(LoadBalancerSettings(idle_timeout_s=0.5), "arn:x", "SID")
    assert shape_from_json(shape_to_json(shape)) == shape
    with pytest.raises(UsageError, match="is no shape"):
        shape_from_json("[1]")


def test_no_server_header_is_not_played() -> None:
    with pytest.raises(NotModelled, match="Server header"):
        check_shape(Shape(LoadBalancerSettings(server_header=False)))


def test_slots_are_addresses_ranges_and_subnets() -> None:
    assert expand_slots(("127.0.0.1:1-3", "10.0.0.0/30:80", "[::1]:9", "127.0.0.1:2")) == (
        *("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"),
        *("10.0.0.1:80", "10.0.0.2:80", "[::1]:9"),
    )


@pytest.mark.parametrize("slot", ["x", "name:80", "127.0.0.1:3-1", "10.0.0.0/8:80", "127.0.0.1:1-2000", "127.0.0.1:0"])
def test_slots_that_are_none_are_refused(slot: str) -> None:
    with pytest.raises(UsageError, match="slot"):
        expand_slots((slot,))


# --- counters -----------------------------------------------------------------------------------------------


def test_counters_are_cloudwatchs_from_what_javascript_counts() -> None:
    counts = {
        **{"b0|a": 5, "e0|a": 4, "b1|a": 1, "e1|a": 1, "n0": 2, "a0": 3, "t0": 2, "accepted": 3},
        **{"x0|a#500#t": 1, "x0|a#502#c": 1, "x0|#503#e": 2},
    }
    found = counters(counts, 7, table(A), {"a": 2})
    assert found["targets"] == {"a": {"outstanding": 1, "requests": 6, "connections": 2}}
    assert found["nodes"]["node-0"] == {
        **{"RequestCount": 6, "NonStickyRequestCount": 2, "NewConnectionCount": 3, "RejectedConnectionCount": 0},
        **{"TargetConnectionErrorCount": 1, "HTTPCode_ELB_502_Count": 1, "HTTPCode_ELB_503_Count": 2},
        **{"HTTPCode_ELB_5XX_Count": 3, "HTTPCode_Target_2XX_Count": 2, "HTTPCode_Target_5XX_Count": 1},
    }
    assert found["totals"]["RequestCount"] == 7
    assert found["totals"]["ActiveConnectionCount"] == 7
    assert (outstanding(counts, "a"), outstanding(counts, "b")) == (1, 0)


# --- sockets ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not can_shut(), reason="the kernel or the sandbox lends no descriptors")
def test_the_connections_to_one_address_are_found_and_shut() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        with (
            socket.create_connection(one.getsockname()) as first,
            socket.create_connection(two.getsockname()) as second,
        ):
            address = f"127.0.0.1:{one.getsockname()[1]}"
            processes = [os.getpid(), 2**22 - 1]
            assert connections(processes)[address] == {str(os.fstat(first.fileno()).st_ino)}
            assert shut(processes, {address}) == 1
            assert first.recv(1) == b""
            second.sendall(b"still open")
        assert address not in connections(processes)


def test_least_outstanding_has_no_ramp() -> None:
    made = strings(table(A, RAMPING, slow_start_s=30.0, algorithm=Algorithm.LEAST_OUTSTANDING_REQUESTS))
    assert made["choice0"].splitlines()[0] == "least_outstanding_requests 0 1000500"


@pytest.mark.parametrize(
    "platform", [PlatformSettings(routing=Routing.BY_SESSION_HEADER), PlatformSettings(request_timeout_s=120.0)]
)
def test_what_nginx_does_not_play_is_refused_and_not_ignored(platform: PlatformSettings) -> None:
    with pytest.raises(NotModelled, match="nginx does not play"):
        check_table(table(A, platform=platform).to_json())
