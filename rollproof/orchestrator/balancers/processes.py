"""A balancer as a process of its own: start it, find it again, stop it. The same for every kind.

It gets a session of its own, so that neither Ctrl-C nor the death of whoever started it cuts a call. Beside the control
socket stands `<socket>.pid`, written by the process itself; what it says about itself goes to `<socket>.log`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import psutil

from rollproof.core.errors import Permanent, RollproofError, Temporary, UsageError
from rollproof.orchestrator.balancers.client import BalancerClient
from rollproof.orchestrator.balancers.control_server import USAGE_EXIT, check_socket_path, forget, pid_file

Client = TypeVar("Client", bound=BalancerClient)

_LOOK_S = 0.02
_TERM_S = 5.0
_children: dict[int, subprocess.Popen[bytes]] = {}  # by pid; kept so that they are reaped: they may outlive us


class BalancerProcesses(Generic[Client]):
    """One kind of balancer: `python -m module --control SOCKET ...`, spoken to by `client(socket, access_log)`.

    `name` is what messages call it. `sweep(socket)` ends and removes what one that is gone has left, besides its
    socket and pid file.
    """

    def __init__(
        self,
        name: str,
        module: str,
        client: Callable[[Path, Path], Client],
        sweep: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self._name, self._module, self._client, self._sweep = name, module, client, sweep

    async def start(self, control: Path, access_log: Path, arguments: Sequence[str], *, deadline_s: float) -> Client:
        """Start one and wait until it is healthy.

        Raises UsageError (port in use, bad path: naming it), Permanent where it died or was not up by the deadline;
        nothing is left running then.
        """
        check_socket_path(control)
        client = self._client(control, access_log)
        control.parent.mkdir(parents=True, exist_ok=True)
        log = control.with_name(control.name + ".log")
        said_before = log.stat().st_size if log.exists() else 0
        child = self._launch(control, log, ["--access-log", str(access_log), *arguments])
        try:
            await self._wait_until_healthy(client, child, deadline_s)
        except BaseException as error:
            _end(child)
            if isinstance(error, Temporary):
                raise self._start_failure(child.returncode, log, said_before) from error
            raise
        _reap()
        _children[child.pid] = child
        return client

    def _launch(self, control: Path, log: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Not with asyncio, whose child would be killed with its loop."""
        command = [sys.executable, "-m", self._module, "--control", str(control.absolute()), *arguments]
        with log.open("ab") as stderr:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
            )

    async def _wait_until_healthy(self, client: Client, child: subprocess.Popen[bytes], deadline_s: float) -> None:
        """Raises Temporary when the child has exited, or the deadline has passed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + deadline_s
        while child.poll() is None:
            with suppress(Temporary):
                if (await client.health())["pid"] == child.pid:
                    return
            if loop.time() > deadline:
                raise Temporary(f"{self._name} was not up within {deadline_s:g} s")
            await asyncio.sleep(_LOOK_S)
        raise Temporary(f"{self._name} ended while starting")

    def _start_failure(self, exit_code: int, log: Path, said_before: int) -> RollproofError:
        """What the process itself said, with the type its exit code stands for."""
        said = log.read_bytes()[said_before:].decode(errors="replace").strip()
        message, _, hint = said.partition("\nhint: ")
        if exit_code == USAGE_EXIT:
            return UsageError(message or f"{self._name} refused to start", hint=hint or f"see {log}")
        message = message[-500:] or "it said nothing"
        return Permanent(f"{self._name} did not start: {message}", hint=hint or f"see {log}")

    async def attach(self, control: Path) -> Client:
        """The one that already runs behind `control`. Raises Temporary if none answers."""
        health = await self._client(control, Path()).health()
        return self._client(control, Path(health["access_log"]))

    def is_running(self, control: Path) -> bool:
        """Whether its process exists. One that is too busy to answer does."""
        process = self._running(control)
        return process is not None and _is_alive(process)

    async def stop(self, control: Path, *, grace_s: float = 5.0, deadline_s: float = 5.0) -> None:
        """Stop the one behind `control`, whoever started it: asked first, killed `deadline_s` behind its grace.

        Idempotent: none there is no error. Raises Permanent if it cannot be ended.
        """
        process = self._running(control)
        with suppress(Temporary, Permanent):
            await self._client(control, Path()).request_stop(grace_s)
        if process is not None and not await _has_ended(process, grace_s + deadline_s):
            _kill(process)
            if not await _has_ended(process, deadline_s):
                raise Permanent(f"{self._name} (pid {process.pid}) cannot be ended", hint=f"kill -9 {process.pid}")
        _reap()
        forget(control)
        self._sweep(control)

    def _running(self, control: Path) -> psutil.Process | None:
        """The process of the pid file, if it is still the balancer that wrote it and not another with its number."""
        try:
            process = psutil.Process(int(pid_file(control).read_text()))
            command = process.cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        return process if self._module in command and str(control.absolute()) in command else None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Asked first: what it has started itself is ended then, too."""
    child.terminate()
    try:
        child.wait(_TERM_S)
    except subprocess.TimeoutExpired:
        _kill(psutil.Process(child.pid))
        child.wait()


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def _is_alive(process: psutil.Process) -> bool:
    _reap()
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _has_ended(process: psutil.Process, within_s: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while _is_alive(process):
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


def _reap() -> None:
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]
