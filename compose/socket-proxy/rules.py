"""What the orchestrator may ask of the Docker Engine: this list and nothing else. Pure, standard library only.

Whoever can create any container is root on the machine. So a call passes only if method, path and every query
parameter are listed, and a container is created only with keys that are listed: no mount, no privilege, no
device, no other network, no image but the given ones, never as root. Containers are addressed by name alone, and
only by names of this project's tasks, `<project>-<service>-<12 hex digits>`; Compose's own are out of reach.

What is not understood is refused: a percent sign in a path, a key given twice, a key in another case (the
Engine would take `hostconfig` for `HostConfig`).
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]

TMPFS = {"/tmp": "rw,noexec,nosuid,nodev,size=67108864,mode=1777"}  # noqa: S108 - the container's own
ALWAYS: Json = {
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges:true"],
    "Tmpfs": TMPFS,
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "1"}},
}
MOST_MEMORY = 32 << 30
MOST_NANO_CPUS = 64 * 10**9
MOST_PIDS = 4096

_PLAIN = re.compile(r"[\w.:-]{0,64}")
_SIGNAL = re.compile(r"SIG[A-Z0-9]{1,9}")
_NOT_ROOT = re.compile(r"[1-9]\d{0,9}(:[1-9]\d{0,9})?")


class Forbidden(Exception):
    """The call is not on the list. The message says which part of it."""


@dataclass(frozen=True)
class Scope:
    """Whose containers, on which network, of which images."""

    project: str
    service: str
    network: str
    images: tuple[str, ...]

    @property
    def labels(self) -> dict[str, str]:
        return {"com.docker.compose.project": self.project, "com.docker.compose.service": self.service}

    @property
    def container(self) -> str:
        """Pattern of the names that tasks have."""
        return f"{re.escape(self.project)}-{re.escape(self.service)}-[0-9a-f]{{12}}"


def allowed_body(scope: Scope, method: str, target: str, body: bytes) -> bytes:
    """The body to pass on if the call is allowed. Raises Forbidden otherwise. `target` is the request line's."""
    path, _, query = target.partition("?")
    if not re.fullmatch(r"[\w/.:-]+", path, re.ASCII) or not re.fullmatch(r"[!-~]*", query):
        raise Forbidden("unusual characters in the path or the query")
    path = re.sub(r"^/v1\.\d{2}(?=/)", "", path)
    for known_method, pattern, parameters in _routes(scope):
        if method == known_method and re.fullmatch(pattern, path, re.ASCII):
            _check_query(scope, query, parameters)
            if path == "/containers/create":
                return _created(scope, body)
            if body not in (b"", b"{}", b"null"):
                raise Forbidden("a body where none belongs")
            return b""
    raise Forbidden("not on the list of calls")


def _routes(scope: Scope) -> list[tuple[str, str, frozenset[str]]]:
    """Method, pattern of the path, names of the query's parameters."""
    container = f"/containers/{scope.container}"
    image = "|".join(re.escape(name) for name in scope.images) or "(?!)"
    return [
        ("GET", "/_ping", frozenset()),
        ("GET", "/version", frozenset()),
        ("GET", "/events", frozenset({"filters"})),
        ("GET", "/containers/json", frozenset({"all", "filters", "limit", "size", "trunc_cmd"})),
        ("POST", "/containers/create", frozenset({"name"})),
        ("GET", f"{container}/json", frozenset()),
        ("GET", f"{container}/logs", frozenset({"stdout", "stderr", "follow", "timestamps", "tail"})),
        ("GET", f"{container}/stats", frozenset({"stream", "one-shot"})),
        ("POST", f"{container}/start", frozenset()),
        ("POST", f"{container}/kill", frozenset({"signal"})),
        ("DELETE", container, frozenset({"v", "force", "link"})),
        ("GET", f"/networks/{re.escape(scope.network)}", frozenset()),
        ("GET", f"/images/({image})/json", frozenset()),
    ]


def _check_query(scope: Scope, query: str, parameters: frozenset[str]) -> None:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except (ValueError, UnicodeError) as error:
        raise Forbidden(f"query: {error}") from error
    given = dict(pairs)
    if len(given) != len(pairs):
        raise Forbidden("query: a parameter given twice")
    for name in ("filters", "name", "signal"):
        if name in parameters and name not in given:
            raise Forbidden(f"query: {name} is missing")
    for name, value in given.items():
        if name not in parameters:
            raise Forbidden(f"query: {name}")
        if name == "filters":
            _check_filters(scope, value)
        elif not _query_pattern(scope, name).fullmatch(value):
            raise Forbidden(f"query: {name}={value[:80]}")


def _query_pattern(scope: Scope, name: str) -> re.Pattern[str]:
    match name:
        case "name":
            return re.compile(scope.container)
        case "signal":
            return _SIGNAL
        case "link":  # DELETE with link=1 removes a link between containers
            return re.compile("0|[Ff]alse")
    return _PLAIN


def _check_filters(scope: Scope, text: str) -> None:
    """A list, or the events, of this project's tasks only."""
    filters = _parsed(text)
    labels = filters.get("label")
    wanted = {f"{name}={value}" for name, value in scope.labels.items()}
    if not filters.keys() <= {"label", "type", "event"} or not isinstance(labels, list) or not wanted <= set(labels):
        raise Forbidden("filters do not keep to the project's tasks")


def _created(scope: Scope, body: bytes) -> bytes:
    """The body of a container's creation, written anew from what was understood of it."""
    config = _parsed(body)
    checks: Mapping[str, Callable[[Any], bool]] = {
        "Image": lambda image: image in scope.images,
        "User": lambda user: isinstance(user, str) and bool(_NOT_ROOT.fullmatch(user)),
        "Labels": lambda labels: _holds(labels, scope.labels | {"com.docker.compose.oneoff": "False"}),
        "HostConfig": lambda host: isinstance(host, dict) and _check_host_config(scope, host),
        "NetworkingConfig": lambda network: _is_networking(scope, network),
        "Env": _is_strings,
        "Cmd": _is_strings,
        "StopSignal": lambda signal: isinstance(signal, str) and bool(_SIGNAL.fullmatch(signal)),
        "Healthcheck": _is_health_check,
    }
    for key in ("Image", "User", "Labels", "HostConfig", "NetworkingConfig"):
        if key not in config:
            raise Forbidden(f"create: {key} is missing")
    _check_keys("create", config, checks)
    return json.dumps(config).encode()


def _check_host_config(scope: Scope, host: Json) -> bool:
    def at_most(limit: int) -> Callable[[Any], bool]:
        return lambda number: isinstance(number, int) and not isinstance(number, bool) and 0 < number <= limit

    checks: dict[str, Callable[[Any], bool]] = {key: _equals(value) for key, value in ALWAYS.items()}
    checks |= {
        "NetworkMode": _equals(scope.network),
        "Memory": at_most(MOST_MEMORY),
        "MemorySwap": lambda swap: type(swap) is int and swap == host.get("Memory"),
        "NanoCpus": at_most(MOST_NANO_CPUS),
        "PidsLimit": at_most(MOST_PIDS),
        "Init": lambda init: isinstance(init, bool),
    }
    for key in checks.keys() - {"Init"}:
        if key not in host:
            raise Forbidden(f"create: HostConfig.{key} is missing")
    _check_keys("create: HostConfig", host, checks)
    return True


def _check_keys(where: str, given: Json, checks: Mapping[str, Callable[[Any], bool]]) -> None:
    for key, value in given.items():
        if key not in checks:
            raise Forbidden(f"{where}: key {key[:80]}")
        if not checks[key](value):
            raise Forbidden(f"{where}: {key} is {json.dumps(value)[:200] if key != 'Env' else 'no list of strings'}")


def _equals(wanted: Any) -> Callable[[Any], bool]:
    return lambda value: type(value) is type(wanted) and value == wanted


def _holds(given: Any, wanted: Mapping[str, str]) -> bool:
    return isinstance(given, dict) and all(given.get(name) == value for name, value in wanted.items())


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_health_check(value: Any) -> bool:
    known = {"Test", "Interval", "Timeout", "Retries", "StartPeriod"}
    return isinstance(value, dict) and value.keys() <= known and _is_strings(value.get("Test"))


def _is_networking(scope: Scope, value: Any) -> bool:
    """This network alone, with an IPv4 address and nothing else."""
    try:
        address = value["EndpointsConfig"][scope.network]["IPAMConfig"]["IPv4Address"]
        ipaddress.IPv4Address(address)
    except (KeyError, TypeError, ValueError):
        return False
    return bool(value == {"EndpointsConfig": {scope.network: {"IPAMConfig": {"IPv4Address": address}}}})


def _parsed(text: str | bytes) -> Json:
    def once(pairs: list[tuple[str, Any]]) -> Json:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Forbidden("JSON with a key given twice")
        return found

    try:
        value = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise Forbidden(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Forbidden("JSON, but no object")
    return value
