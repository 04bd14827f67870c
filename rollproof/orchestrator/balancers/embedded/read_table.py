"""Reads the routing table of a PUT, and believes nothing: what passes cannot make the data plane stumble later."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable

_WORD = re.compile(r"[!#-\[\]-~]+")  # printable ASCII without space, quote, backslash: it goes into log lines
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_XFF_MODES = ("append", "preserve", "remove")


def read_table(data: Any) -> RoutingTable:
    """The table in `data`, a RoutingTable.to_json. Raises UsageError saying what is wrong with it."""
    try:
        table = RoutingTable.from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
        raise UsageError(f"not a routing table: {what}") from error
    _check(table.generation >= 0, f"generation {table.generation} is below 0")
    _check(bool(table.nodes), "it needs at least one node")
    _check(len({node.id for node in table.nodes}) == len(table.nodes), "two nodes have the same id")
    for node in table.nodes:
        _check_node(node)
    _check(0 <= table.slow_start_s <= 900, f"slow_start_s {table.slow_start_s}")
    _check(not table.target_group_arn or _is_word(table.target_group_arn), f"ARN {table.target_group_arn!r}")
    _check_types(table.load_balancer)
    _check_types(table.stickiness)
    _check_types(table.platform)
    _check_settings(table)
    return table


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UsageError(f"not a routing table: {otherwise}")


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _check_node(node: NodeTable) -> None:
    _check(_is_word(node.id), f"node id {node.id!r}")
    for target in node.targets:
        _check_target(target)
    _check(len({t.id for t in node.targets}) == len(node.targets), f"a target stands twice in {node.id}")


def _check_target(target: RoutableTarget) -> None:
    _check(_is_word(target.id), f"target id {target.id!r}")
    for name in ("new", "sticky"):
        _check(isinstance(getattr(target, name), bool), f"{name} of {target.id} is neither true nor false")
    age_s = target.slow_start_age_s
    _check(age_s is None or (_is_number(age_s) and age_s >= 0), f"slow_start_age_s {age_s!r} of {target.id}")
    host, colon, port = str(target.address).rpartition(":")
    is_address = bool(host and colon) and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    _check(is_address, f"address {target.address!r} of {target.id} is not host:port")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_types(settings: Any) -> None:
    """Each field has the type of its default; an int does for a float."""
    for field in fields(settings):
        value, kind = getattr(settings, field.name), type(field.default)
        holds = _is_number(value) if kind is float else isinstance(value, kind)
        _check(holds, f"{field.name} {value!r} is no {kind.__name__}")


def _check_settings(table: RoutingTable) -> None:
    balancer, stickiness = table.load_balancer, table.stickiness
    for name in ("idle_timeout_s", "client_keep_alive_s", "connect_timeout_s"):
        _check(getattr(balancer, name) > 0, f"{name} {getattr(balancer, name)} is not above 0")
    _check(_is_word(balancer.name), f"load balancer name {balancer.name!r}")
    _check(0 < balancer.listener_port < 65536, f"listener_port {balancer.listener_port}")
    _check(balancer.xff_mode in _XFF_MODES, f"xff_mode {balancer.xff_mode!r} is none of {', '.join(_XFF_MODES)}")
    for name in ("session_idle_s", "session_lifetime_s"):
        _check(getattr(table.platform, name) > 0, f"{name} {getattr(table.platform, name)} is not above 0")
    _check(table.platform.request_timeout_s >= 0, f"request_timeout_s {table.platform.request_timeout_s} is below 0")
    _check(stickiness.duration_s > 0, f"duration_s {stickiness.duration_s} is not above 0")
    name = stickiness.cookie_name
    _check(not name or _COOKIE_NAME.fullmatch(name) is not None, f"cookie_name {name!r}")
