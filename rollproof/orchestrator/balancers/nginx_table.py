"""A routing table as nginx's JavaScript reads it: a few short strings, so that a request parses next to nothing.

Their layout stands at the top of lb/alb.js. All of it is decided here, once a table: who may be chosen, who ramps,
which cookies still reach their target, how long a sealed cookie may be handed out. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.core.platforms import refuse_elsewhere
from rollproof.core.routing import NodeView, node_view
from rollproof.core.routing_table import RoutingTable
from rollproof.core.settings import Stickiness, StickinessType
from rollproof.core.stickiness import APP_PLAINTEXT_SIZE, LB_PLAINTEXT_SIZE, target_key

NODES_MAX = 9
_KEPT_S_MAX = 1.0
_KEPT_SHARE = 1000  # a cookie handed out again has lost at most a thousandth of its duration
_KEPT_S_MIN = 0.01
_VERSIONS = 65536


def check_table(data: Any) -> RoutingTable:
    """The routing table of a PUT. Raises UsageError saying what is wrong with it."""
    try:
        table = RoutingTable.from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
        raise UsageError(f"not a routing table: {what}") from error
    refuse_elsewhere(table.platform, "nginx")
    if table.generation < 0 or not table.nodes:
        raise UsageError("not a routing table: it needs a generation from 0 on, and at least one node")
    if len(table.nodes) > NODES_MAX:
        raise UsageError(f"not a routing table: {len(table.nodes)} nodes, nginx plays at most {NODES_MAX}")
    if len({node.id for node in table.nodes}) < len(table.nodes):
        raise UsageError("not a routing table: two nodes have the same id")
    for node in table.nodes:
        ids = [target.id for target in node.targets]
        if len(set(ids)) < len(ids):
            raise UsageError(f"not a routing table: a target stands twice in {node.id}")
        for target in node.targets:
            _check_target(target.id, target.address, target.new, target.sticky)
    return table


def _check_target(target_id: Any, address: Any, new: Any, sticky: Any) -> None:
    if not isinstance(target_id, str) or not target_id or not target_id.isascii() or not target_id.isprintable():
        raise UsageError(f"not a routing table: target id {target_id!r}")
    if any(character in ' |#"\\' for character in target_id):
        raise UsageError(f"not a routing table: target id {target_id!r}")
    if not isinstance(new, bool) or not isinstance(sticky, bool):
        raise UsageError(f"not a routing table: new and sticky of {target_id} must be true or false")
    host, colon, port = str(address).rpartition(":")
    if not host or not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"not a routing table: address {address!r} of {target_id} is not host:port")


def cookie_context(stickiness: Stickiness, target_group_arn: str) -> bytes:
    """What is authenticated with each cookie; the embedded balancer's cookies have the same."""
    kind = b"AWSALBAPP\0" if stickiness.type is StickinessType.APP_COOKIE else b"AWSALB\0"
    return kind + target_group_arn.encode()


def long_names(target_ids: Iterable[str]) -> dict[str, str]:
    """What a cookie calls each target whose id is too long for it, in hex; JavaScript derives the others itself."""
    named = {target_id: target_key(target_id) for target_id in target_ids}
    return {target_id: name.hex() for target_id, name in named.items() if name != target_id.encode()}


def state(
    table: RoutingTable,
    key: bytes,
    addresses: Mapping[str, str],
    names: Mapping[str, str],
    *,
    published_at: float,
    version: int,
) -> dict[str, str]:
    """The entries of the dictionary `alb_table`.

    `addresses`: where each address of the table is connected to, host names resolved. `names`: of `long_names`, with
    those of former tables, since a worker may still be answering from the last one. `published_at`: UNIX time.
    `version`: changes with stickiness settings and target group, so that no cookie of the former ones is handed out, or
    remembered as one that counts.
    """
    views = [node_view(table, node) for node in table.nodes]
    choices = {f"choice{n}": _choice(view, addresses, published_at) for n, view in enumerate(views)}
    return {
        **choices,
        "secret": json.dumps(_secret(table, key, names)),
        "sticky": _sticky(table, views, addresses, version),
    }


def _sticky(table: RoutingTable, views: list[NodeView], addresses: Mapping[str, str], version: int) -> str:
    stickiness = table.stickiness
    mode = 0 if not stickiness.enabled else 2 if stickiness.type is StickinessType.APP_COOKIE else 1
    tag = f"{version % _VERSIONS:04x}"
    lines = [f"{mode} {len(views)} {tag}"]
    lines += [
        f"{n} {tag}{name.hex()} {target.id} {addresses[target.address]}"
        for n, view in enumerate(views)
        for name, target in view.sticky.items()
    ]
    return "\n".join(lines) + "\n"


def _choice(view: NodeView, addresses: Mapping[str, str], published_at: float) -> str:
    """Nothing where no target may be chosen."""
    if not view.choosable:
        return ""
    slow_start_ms = round(view.slow_start_s * 1000) if view.ramping else 0
    rows = [
        f"{t.id} {addresses[t.address]} {round(view.ramping[t.id] * 1000) if t.id in view.ramping else -1}"
        for t in view.choosable
    ]
    return "\n".join([f"{view.algorithm.value} {slow_start_ms} {round(published_at * 1000)}", *rows])


def _secret(table: RoutingTable, key: bytes, names: Mapping[str, str]) -> dict[str, Any]:
    stickiness = table.stickiness
    is_app = stickiness.type is StickinessType.APP_COOKIE
    kept_s = min(_KEPT_S_MAX, stickiness.duration_s / _KEPT_SHARE)
    return {
        "key": key.hex(),
        "context": cookie_context(stickiness, table.target_group_arn).hex(),
        "prefix": 8 if is_app else 0,
        "size": APP_PLAINTEXT_SIZE if is_app else LB_PLAINTEXT_SIZE,
        "duration_ms": stickiness.duration_s * 1000,
        "keep_ms": kept_s * 1000 if kept_s >= _KEPT_S_MIN else 0,
        "cookie_name": stickiness.cookie_name,
        "names": dict(names),
    }


def counters(
    counts: Mapping[str, float], active: int, table: RoutingTable, connections: Mapping[str, int]
) -> dict[str, Any]:
    """`GET /v1/counters`, from the numbers of the dictionary `alb_counts`."""
    targets: dict[str, dict[str, int]] = {}
    nodes = {node.id: _node_counters(counts, n) for n, node in enumerate(table.nodes)}
    for name, number in counts.items():
        if name[0] == "b" and "|" in name:
            target_id = name.partition("|")[2]
            row = targets.setdefault(target_id, {"outstanding": 0, "requests": 0, "connections": 0})
            row["requests"] += int(number)
            row["outstanding"] += max(0, int(number - counts.get("e" + name[1:], 0)))
            row["connections"] = connections.get(target_id, 0)
    totals: dict[str, int] = {}
    for node in nodes.values():
        for name, count in node.items():
            totals[name] = totals.get(name, 0) + count
    totals["ActiveConnectionCount"] = active
    return {"generation": table.generation, "targets": targets, "totals": totals, "nodes": nodes}


def _node_counters(counts: Mapping[str, float], node: int) -> dict[str, int]:
    """One node's, by CloudWatch's names. ALB-UG/load-balancer-cloudwatch-metrics."""
    ended = sum(int(v) for k, v in counts.items() if k.startswith(f"e{node}|"))
    found = {
        "RequestCount": ended,
        "NonStickyRequestCount": int(counts.get(f"n{node}", 0)),
        "NewConnectionCount": int(counts.get(f"a{node}", 0)),
        "RejectedConnectionCount": 0,
        "TargetConnectionErrorCount": 0,
    }
    by_name: dict[str, int] = {}
    plain = ended
    for name, number in counts.items():
        if not name.startswith(f"x{node}|"):
            continue
        key, status, kind = name.split("#")
        if key.endswith("|"):
            found["RequestCount"] += int(number)
        else:
            plain -= int(number)
        found["TargetConnectionErrorCount"] += int(number) if kind == "c" else 0
        for metric in _metrics(status, is_targets=kind == "t"):
            by_name[metric] = by_name.get(metric, 0) + int(number)
    if plain > 0:
        by_name["HTTPCode_Target_2XX_Count"] = by_name.get("HTTPCode_Target_2XX_Count", 0) + plain
    return {**found, **dict(sorted(by_name.items()))}


def _metrics(status: str, *, is_targets: bool) -> list[str]:
    if is_targets:
        return [f"HTTPCode_Target_{status[0]}XX_Count"]
    return [f"HTTPCode_ELB_{status[0]}XX_Count"] + (
        [f"HTTPCode_ELB_{status}_Count"] if status in ("500", "502", "503", "504") else []
    )


def outstanding(counts: Mapping[str, float], target_id: str) -> int:
    """Requests in flight on a target, over all nodes."""
    begun = [name for name in counts if name[0] == "b" and name.partition("|")[2] == target_id]
    return sum(max(0, int(counts[name] - counts.get("e" + name[1:], 0))) for name in begun)
