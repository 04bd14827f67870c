"""The embedded balancer as a process of its own: start it, find it again, stop it.

It gets a session of its own, so that neither Ctrl-C nor the death of whoever started it cuts a call. Beside the control
socket stands `<socket>.pid`; what the process says about itself goes to `<socket>.log`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from rollproof.core.errors import Permanent, RollproofError, Temporary, UsageError
from rollproof.orchestrator.balancers.embedded.client import EmbeddedBalancerClient
from rollproof.orchestrator.balancers.embedded.control import check_socket_path
from rollproof.orchestrator.balancers.embedded.server import BalancerOptions

MODULE = "rollproof.orchestrator.balancers.embedded"
USAGE_EXIT = 2

_LOOK_S = 0.02
_children: dict[int, subprocess.Popen[bytes]] = {}  # by pid; kept so that they are reaped: they may outlive us


def pid_file(control: Path) -> Path:
    return control.with_name(control.name + ".pid")


async def start_balancer(options: BalancerOptions, *, deadline_s: float = 15.0) -> EmbeddedBalancerClient:
    """Start a balancer and wait until it is healthy.

    Raises UsageError (port in use, bad path: naming it), Permanent where it died or was not up by the deadline; nothing
    is left running then.
    """
    control = options.control
    if control is None:
        raise UsageError("a balancer process needs a control socket", hint="set `control` to a path")
    check_socket_path(control)
    control.parent.mkdir(parents=True, exist_ok=True)
    log = control.with_name(control.name + ".log")
    said_before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as stderr:
        child = subprocess.Popen(  # noqa: ASYNC220 - fork and exec, a millisecond; asyncio's would be killed with its loop
            _command(options, control),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    client = EmbeddedBalancerClient(control, options.access_log)
    try:
        await _wait_until_healthy(client, child, deadline_s)
    except BaseException as error:
        child.kill()
        child.wait()
        if isinstance(error, Temporary):
            raise _start_failure(child.returncode, log, said_before) from error
        raise
    _reap()
    _children[child.pid] = child
    return client


def _command(options: BalancerOptions, control: Path) -> list[str]:
    command = [sys.executable, "-m", MODULE, "--listen", f"{options.host}:{options.port}"]
    command += ["--control", str(control), "--access-log", str(options.access_log)]
    return command if options.key_file is None else [*command, "--key-file", str(options.key_file)]


async def _wait_until_healthy(
    client: EmbeddedBalancerClient, child: subprocess.Popen[bytes], deadline_s: float
) -> None:
    """Raises Temporary when the child has exited, or the deadline has passed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s
    while child.poll() is None:
        with suppress(Temporary):
            if (await client.health())["pid"] == child.pid:
                return
        if loop.time() > deadline:
            raise Temporary(f"the balancer was not up within {deadline_s:g} s")
        await asyncio.sleep(_LOOK_S)
    raise Temporary("the balancer ended while starting")


def _start_failure(exit_code: int, log: Path, said_before: int) -> RollproofError:
    """What the process itself said, with the type its exit code stands for."""
    said = log.read_bytes()[said_before:].decode(errors="replace").strip()
    message, _, hint = said.partition("\nhint: ")
    if exit_code == USAGE_EXIT:
        return UsageError(message or "the balancer refused to start", hint=hint or f"see {log}")
    return Permanent(f"the balancer did not start: {message[-500:] or 'it said nothing'}", hint=hint or f"see {log}")


async def attach_balancer(control: Path) -> EmbeddedBalancerClient:
    """The balancer that already runs behind `control`. Raises Temporary if none answers."""
    health = await EmbeddedBalancerClient(control, Path()).health()
    return EmbeddedBalancerClient(control, Path(health["access_log"]))


def is_balancer_running(control: Path) -> bool:
    """Whether its process exists. One that is too busy to answer does."""
    _reap()
    process = _running(control)
    return process is not None and _is_alive(process)


async def stop_balancer(control: Path, *, grace_s: float = 5.0, deadline_s: float = 5.0) -> None:
    """Stop the balancer behind `control`, whoever started it: asked first, killed `deadline_s` behind its grace.

    Idempotent: none there is no error. Raises Permanent if it cannot be ended.
    """
    process = _running(control)
    with suppress(Temporary):
        await EmbeddedBalancerClient(control, Path()).request_stop(grace_s)
    if process is None:
        _forget(control)
        return
    if not await _wait_for(lambda: not _is_alive(process), grace_s + deadline_s):
        with suppress(psutil.NoSuchProcess):
            process.kill()
        if not await _wait_for(lambda: not _is_alive(process), deadline_s):
            raise Permanent(f"the balancer (pid {process.pid}) cannot be ended", hint=f"kill -9 {process.pid}")
    _forget(control)


def _running(control: Path) -> psutil.Process | None:
    """The process of the pid file, if it is still the balancer that wrote it and not another with its number."""
    try:
        process = psutil.Process(int(pid_file(control).read_text()))
        command = process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    return process if MODULE in command and str(control) in command else None


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
    for path in (control, pid_file(control)):
        with suppress(OSError):
            path.unlink()


def write_pid(control: Path) -> None:
    """For the balancer's own process."""
    pid_file(control).write_text(f"{os.getpid()}\n")
