"""nginx as the balancer: start it on this machine, find it again, stop it; and the `Balancer` port over its control.

    client = await start_nginx(NginxOptions(access_log=path, control=socket))  # a process of its own: lb/README.md
    client = NginxBalancerClient("lb:8081")  # in a container: control on a private port

What runs is the agent (nginx_agent.py) and, below it, nginx. Beside a control socket stands `<socket>.pid`, the
agent's; what both say goes to `<socket>.log`; nginx's own files are in `<socket>.d`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from rollproof.core.access_log import AccessLogEntry, parse_line
from rollproof.core.errors import Permanent, RollproofError, Temporary, UsageError
from rollproof.orchestrator.balancers.embedded.client import EmbeddedBalancerClient
from rollproof.orchestrator.balancers.embedded.control import check_socket_path
from rollproof.orchestrator.balancers.nginx_agent import USAGE_EXIT
from rollproof.orchestrator.balancers.nginx_config import Shape, shape_to_json
from rollproof.orchestrator.balancers.nginx_control import ask, split_host_port

MODULE = "rollproof.orchestrator.balancers.nginx_agent"

_ANSWER_S = 8.0  # a table that changes the load balancer's attributes waits for a reload
_LOOK_S = 0.02
_LOG_LOOK_S = 0.05
_children: dict[int, subprocess.Popen[bytes]] = {}  # by pid; kept so that they are reaped: they may outlive us
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NginxOptions:
    """How nginx is started. Port 0 takes a free one; without `key_file` cookies do not outlive the process.

    `slots`: targets' addresses known in advance, whose connections nginx then keeps open between requests:
    "127.0.0.1:8000", a range of ports "127.0.0.1:20000-20063", a subnet "172.28.0.0/26:8000"; at most 1,024.
    `cut`: "chunk" never touches sockets from outside, as where that is impossible.
    `shape`: what the first table will have (`shape_of`); saves a reload.
    """

    access_log: Path
    control: Path
    host: str = "127.0.0.1"
    port: int = 0
    key_file: Path | None = None
    binary: str = ""
    workers: int = 1
    slots: tuple[str, ...] = ()
    cut: str = "auto"
    shape: Shape = field(default_factory=Shape)


class NginxBalancerClient(EmbeddedBalancerClient):
    """Implements `ports.Balancer`. `control` is a socket's path, or HOST:PORT; the log then comes over it, too."""

    def __init__(self, control: Path | str, access_log: Path | None = None) -> None:
        self.address = str(control)
        self.is_remote = split_host_port(self.address) is not None
        if not self.is_remote:
            check_socket_path(Path(control))
        self.control = Path(control)
        self.access_log_path = access_log or Path()

    async def exchange(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one control call. Raises Temporary where nobody answers."""
        try:
            return await ask(self.address, method, path, body, timeout_s=_ANSWER_S)
        except (OSError, TimeoutError, ValueError, IndexError) as error:
            raise Temporary(
                f"nginx's agent behind {self.address} does not answer: {error or type(error).__name__}",
                hint="is it still running? docker compose ps lb, or the pid beside the socket",
            ) from error

    async def access_log(self, offset: int) -> AsyncIterator[tuple[int, AccessLogEntry]]:
        """Entries behind byte `offset`, for ever. Raises Permanent if the log is shorter than `offset`."""
        if not self.is_remote:
            async for behind, entry in super().access_log(offset):
                yield behind, entry
        while True:
            for line in await self._log_lines(offset):
                offset += len(line)
                try:
                    entry = parse_line(line)
                except ValueError as error:
                    _logger.warning("%s's access log before byte %d: %s", self.address, offset, error)
                    continue
                yield offset, entry
            await asyncio.sleep(_LOG_LOOK_S)

    async def _log_lines(self, offset: int) -> list[str]:
        """Nothing while the balancer is away."""
        with suppress(Temporary):
            answer = await self.call("GET", f"/v1/access-log?offset={offset}")
            if answer["size"] < offset:
                raise Permanent(
                    f"{self.address}'s access log has {answer['size']} bytes, fewer than the {offset} already read",
                    hint="the balancer was made anew; start again from byte 0",
                )
            return str(answer["text"]).splitlines(keepends=True)
        return []


async def start_nginx(options: NginxOptions, *, deadline_s: float = 20.0) -> NginxBalancerClient:
    """Start nginx with its agent and wait until it is healthy.

    Raises UsageError (no usable nginx, port in use, bad path: naming it), Permanent where it died or was not up by the
    deadline; nothing is left running then.
    """
    check_socket_path(options.control)
    options.control.parent.mkdir(parents=True, exist_ok=True)
    log = _beside(options.control, ".log")
    said_before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as stderr:
        child = subprocess.Popen(  # noqa: ASYNC220 - fork and exec, a millisecond; asyncio's would be killed with its loop
            _command(options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    client = NginxBalancerClient(options.control, options.access_log)
    try:
        await _wait_until_healthy(client, child, deadline_s)
        _beside(options.control, ".pid").write_text(f"{child.pid}\n")
    except BaseException as error:
        child.terminate()  # nginx dies with its agent
        child.wait()
        if isinstance(error, Temporary):
            raise _start_failure(child.returncode, log, said_before) from error
        raise
    _reap()
    _children[child.pid] = child
    return client


def _beside(control: Path, suffix: str) -> Path:
    return control.with_name(control.name + suffix)


def _command(options: NginxOptions) -> list[str]:
    command = [sys.executable, "-m", MODULE, "--listen", f"{options.host}:{options.port}"]
    command += ["--control", str(options.control.absolute()), "--access-log", str(options.access_log)]
    command += ["--state", str(_beside(options.control, ".d")), "--workers", str(options.workers), "--cut", options.cut]
    command += ["--shape", shape_to_json(options.shape)]
    command += [] if options.key_file is None else ["--key-file", str(options.key_file)]
    command += ["--nginx", options.binary] if options.binary else []
    return command + [word for slot in options.slots for word in ("--slot", slot)]


async def _wait_until_healthy(client: NginxBalancerClient, child: subprocess.Popen[bytes], deadline_s: float) -> None:
    """Raises Temporary when the child has exited, or the deadline has passed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s
    while child.poll() is None:
        with suppress(Temporary):
            if (await client.health())["pid"] == child.pid:
                return
        if loop.time() > deadline:
            raise Temporary(f"nginx was not up within {deadline_s:g} s")
        await asyncio.sleep(_LOOK_S)
    raise Temporary("nginx's agent ended while starting")


def _start_failure(exit_code: int, log: Path, said_before: int) -> RollproofError:
    """What the agent itself said, with the type its exit code stands for."""
    said = log.read_bytes()[said_before:].decode(errors="replace").strip()
    message, _, hint = said.partition("\nhint: ")
    if exit_code == USAGE_EXIT:
        return UsageError(message or "nginx refused to start", hint=hint or f"see {log}")
    return Permanent(f"nginx did not start: {message[-500:] or 'it said nothing'}", hint=hint or f"see {log}")


async def attach_nginx(control: Path | str) -> NginxBalancerClient:
    """The nginx that already runs behind `control`. Raises Temporary if none answers."""
    health = await NginxBalancerClient(control).health()
    return NginxBalancerClient(control, Path(health["access_log"]))


def is_nginx_running(control: Path) -> bool:
    """Whether its agent's process exists. One that is too busy to answer does."""
    _reap()
    process = _running(control)
    return process is not None and _is_alive(process)


async def stop_nginx(control: Path, *, grace_s: float = 5.0, deadline_s: float = 5.0) -> None:
    """Stop the nginx behind `control`, whoever started it: asked first, killed `deadline_s` behind its grace.

    Idempotent: none there is no error. Raises Permanent if it cannot be ended.
    """
    process = _running(control)
    with suppress(Temporary, Permanent):
        await NginxBalancerClient(control).request_stop(grace_s)
    if process is None:
        _forget(control)
        return
    if not await _wait_for(lambda: not _is_alive(process), grace_s + deadline_s):
        with suppress(psutil.NoSuchProcess):
            for each in [*process.children(recursive=True), process]:
                each.kill()
        if not await _wait_for(lambda: not _is_alive(process), deadline_s):
            raise Permanent(f"nginx's agent (pid {process.pid}) cannot be ended", hint=f"kill -9 {process.pid}")
    _forget(control)


def _running(control: Path) -> psutil.Process | None:
    """The process of the pid file, if it is still the agent and not another with its number."""
    try:
        process = psutil.Process(int(_beside(control, ".pid").read_text()))
        command = process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    return process if MODULE in command and str(control.absolute()) in command else None


def _is_alive(process: psutil.Process) -> bool:
    _reap()
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


def _reap() -> None:
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]


def _forget(control: Path) -> None:
    _reap()
    for path in (control, _beside(control, ".pid")):
        with suppress(OSError):
            path.unlink()
    directory = _beside(control, ".d")
    for name in ("n.sock", "nginx.conf", "nginx.pid", "body", "proxy", "unused"):
        with suppress(OSError):
            os.rmdir(directory / name) if (directory / name).is_dir() else (directory / name).unlink()
    with suppress(OSError):
        directory.rmdir()
