"""nginx.conf from its template: what a load balancer's attributes are to nginx.

Settings that nginx can only have in its configuration make a `Shape`; a table with another shape costs a reload.
Everything else of a table goes to lb/alb.js without one.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
from dataclasses import asdict, dataclass, field
from ipaddress import ip_network
from pathlib import Path

from rollproof.core.access_log import load_balancer_resource
from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.routing_table import RoutingTable
from rollproof.core.settings import LoadBalancerSettings, StickinessType

SLOTS_MAX = 1024
PAGES = {
    400: "400 Bad Request",
    405: "405 Not Allowed",
    408: "408 Request Time-out",
    463: "463",
    500: "500 Internal Server Error",
    501: "501 Not Implemented",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
    505: "505 HTTP Version Not Supported",
}
"""Responses the balancer makes itself: byte for byte an ALB's where captures exist (502, 503, 504)."""

_PLACEHOLDER = re.compile(r"@\{(\w+)\}")  # nginx has the dollar sign
_PORT_RANGE = re.compile(r"(?P<host>.+):(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?")


@dataclass(frozen=True)
class Shape:
    """What nginx must be configured with to play a table."""

    load_balancer: LoadBalancerSettings = field(default_factory=LoadBalancerSettings)
    target_group_arn: str = ""
    app_cookie: str = ""  # the application's cookie, with app_cookie stickiness


@dataclass(frozen=True)
class Installation:
    """What does not change while nginx runs. `boot` is 24 hex digits, new with each start."""

    listen: str
    state: Path
    inner: Path  # the socket of lb/control.js
    assets: Path
    access_log: Path
    boot: str
    modules: Path | None = None  # holds the njs module where it is loaded at run time
    workers: int = 1
    version: tuple[int, ...] = (0,)
    engine: str = ""  # "qjs" where the build has QuickJS and it is wanted
    can_shut_sockets: bool = True
    slots: tuple[str, ...] = ()


def shape_of(table: RoutingTable) -> Shape:
    sticky = table.stickiness
    is_app = sticky.enabled and sticky.type is StickinessType.APP_COOKIE
    return Shape(table.load_balancer, table.target_group_arn, sticky.cookie_name if is_app else "")


def shape_from_json(text: str) -> Shape:
    """What `shape_to_json` wrote. Raises UsageError."""
    try:
        data = dict(json.loads(text))
        shape = Shape(**{**data, "load_balancer": LoadBalancerSettings(**data.get("load_balancer", {}))})
    except (ValueError, TypeError) as error:
        raise UsageError(f"--shape {text[:200]} is no shape: {error}") from error
    check_shape(shape)
    return shape


def shape_to_json(shape: Shape) -> str:
    return json.dumps(asdict(shape))


def check_shape(shape: Shape) -> None:
    """Refuse what could not stand in a configuration. Raises UsageError."""
    settings = shape.load_balancer
    if re.fullmatch(r"[\w:/.+=@-]*", shape.target_group_arn) is None:
        raise UsageError(f"not a routing table: target_group_arn {shape.target_group_arn!r}")
    if re.fullmatch(r"[\w.!#%&'*+^`|~-]*", shape.app_cookie) is None or "'" in shape.app_cookie:
        raise UsageError(f"not a routing table: cookie name {shape.app_cookie!r}")
    if settings.xff_mode not in ("append", "preserve", "remove"):
        raise UsageError(f"not a routing table: xff_mode {settings.xff_mode!r}")
    if not isinstance(settings.listener_port, int) or not 0 < settings.listener_port < 65536:
        raise UsageError(f"not a routing table: listener_port {settings.listener_port!r}")
    if not settings.server_header:
        raise NotModelled(
            "routing.http.response.server.enabled = false is not played: nginx always has a Server header",
            hint="use the embedded balancer for it",
        )
    for name in ("idle_timeout_s", "client_keep_alive_s", "connect_timeout_s"):
        value = getattr(settings, name)
        if not isinstance(value, int | float) or not 0.001 <= value <= 10**7:
            raise UsageError(f"not a routing table: {name} {value!r}")


def render(template: str, installation: Installation, shape: Shape) -> str:
    """nginx.conf. Pure but for the name of the user it runs as."""
    settings = shape.load_balancer
    is_secure = settings.listener_protocol == "HTTPS"
    values = {
        **_process(installation),
        **_slots(installation.slots, settings),
        "listen": installation.listen,
        "state": installation.state,
        "inner": installation.inner,
        "assets": installation.assets,
        "access_log": installation.access_log,
        "boot": installation.boot,
        "scheme": "https" if is_secure else "http",
        "ws": "wss" if is_secure else "ws",
        "secure": "; Secure" if is_secure else "",
        "port": settings.listener_port,
        "elb": load_balancer_resource(settings.name),
        "target_group_arn": shape.target_group_arn or "-",
        "idle": _milliseconds(settings.idle_timeout_s),
        "client_keep_alive": _milliseconds(settings.client_keep_alive_s),
        "connect": _milliseconds(settings.connect_timeout_s),
        "connection_life_s": max(2, round(settings.client_keep_alive_s + settings.idle_timeout_s)),
        "pages": _pages(installation.boot),
        "host": _host(settings),
        "forwarded_for": _forwarded_for(settings),
        "response": _response(installation, shape),
    }
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), template)


def _process(installation: Installation) -> dict[str, object]:
    engine = installation.engine
    user = f"user {pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name};" if os.geteuid() == 0 else ""
    modules = installation.modules
    return {
        "user": user,
        "load_module": f'load_module "{modules}/ngx_http_js_module.so";' if modules is not None else "",
        "workers": installation.workers,
        # since 1.27.4: a reload closes no idle client connection that a request may be on its way on
        "keepalive_min": "keepalive_min_timeout 30s;" if installation.version >= (1, 27, 4) else "",
        "js_engine": f"js_engine {engine};" if engine else "",
    }


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _slots(slots: tuple[str, ...], settings: LoadBalancerSettings) -> dict[str, object]:
    """One upstream with kept connections for each address that is known in advance."""
    idle = _milliseconds(settings.idle_timeout_s)
    blocks = [
        f"    upstream slot{n} {{ server {address} max_fails=0; keepalive 512; "
        f"keepalive_requests 1000000000; keepalive_time 10d; keepalive_timeout {idle}; }}\n"
        for n, address in enumerate(slots)
    ]
    return {
        "slots": "".join(f"        {address} slot{n};\n" for n, address in enumerate(slots)),
        "upstreams": "".join(blocks),
    }


def _pages(boot: str) -> str:
    """`return` and not js_content: that would read a request's body to its end before it answers."""
    lines = []
    for status, title in PAGES.items():
        also = "414 494 495 496 497 " if status == 400 else ""
        body = (
            rf"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
            rf"<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
        )
        lines.append(
            f"        error_page {status} {also}={status} /{boot}/{status};\n"
            f"        location = /{boot}/{status} {{\n"
            "            internal;\n"
            "            default_type text/html;\n"
            "            js_import pages from pages.js;\n"
            "            js_header_filter pages.server;\n"
            f'            return {status} "{body}";\n'
            "        }\n"
        )
    return "".join(lines)


def _host(settings: LoadBalancerSettings) -> str:
    """Listener port 80 or 443: without any port. Other ports: with the listener's, if it has none."""
    port = settings.listener_port
    if settings.preserve_host_header:
        return '        "" localhost;\n        default $http_host;\n'
    if port in (80, 443):
        return '        "" localhost;\n        "~^(?<alb_name>.*):\\d*$" $alb_name;\n        default $http_host;\n'
    return f'        "" localhost:{port};\n        "~:\\d*$" $http_host;\n        default "$http_host:{port}";\n'


def _forwarded_for(settings: LoadBalancerSettings) -> str:
    """ALB-UG/x-forwarded-headers. preserve: what came passes as any header does."""
    if settings.xff_mode == "remove":
        return 'proxy_set_header X-Forwarded-For "";'
    if settings.xff_mode == "preserve":
        return ""
    value = "$alb_forwarded" if settings.xff_client_port else "$proxy_add_x_forwarded_for"
    return f"proxy_set_header X-Forwarded-For {value};"


def _response(installation: Installation, shape: Shape) -> str:
    lines = []
    if shape.app_cookie or not installation.can_shut_sockets:
        lines.append("js_import response from response.js;")
    if shape.app_cookie:
        lines += [f"set $alb_cookie_name '{shape.app_cookie}';", "js_header_filter response.filter;"]
    else:
        lines += ["add_header Set-Cookie $alb_set always;", "add_header Set-Cookie $alb_set_cors always;"]
    if not installation.can_shut_sockets:
        lines.append("js_body_filter response.chunk buffer_type=buffer;")
    return "\n            ".join(lines)


def expand_slots(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses from "127.0.0.1:20000-20063" (ports) and "172.28.0.0/26:8000" (a subnet). Raises UsageError."""
    found: dict[str, None] = {}
    for text in texts:
        match = _PORT_RANGE.fullmatch(text)
        if match is None:
            raise UsageError(f"slot {text} is neither HOST:PORT nor HOST:FIRST-LAST nor SUBNET/BITS:PORT")
        first = int(match["first"])
        last = int(match["last"] or first)
        try:
            network = ip_network(match["host"].strip("[]"), strict=False)
        except ValueError as error:
            raise UsageError(f"slot {text}: {error}", hint="give IP addresses") from error
        hosts = list(network.hosts()) if network.num_addresses <= SLOTS_MAX else []
        if not hosts or not 0 < first <= last < 65536 or len(hosts) * (last - first + 1) > SLOTS_MAX:
            raise UsageError(f"slot {text} stands for no address, or for more than {SLOTS_MAX}")
        for host in hosts:
            bracketed = f"[{host}]" if host.version == 6 else str(host)
            found.update(dict.fromkeys(f"{bracketed}:{port}" for port in range(first, last + 1)))
    if len(found) > SLOTS_MAX:
        raise UsageError(f"{len(found)} slots, at most {SLOTS_MAX} are possible")
    return tuple(found)
