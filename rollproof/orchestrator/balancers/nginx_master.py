"""nginx as a child process: started on a socket that is already bound, reloaded, told things, ended."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rollproof.core.errors import Permanent, Temporary
from rollproof.orchestrator.balancers.control_server import ask
from rollproof.orchestrator.balancers.nginx_binary import NginxBinary
from rollproof.orchestrator.balancers.nginx_config import Installation, Shape, render
from rollproof.orchestrator.balancers.nginx_sockets import children

_LOOK_S = 0.005
_START_S = 10.0
_RELOAD_S = 4.5
_ANSWER_S = 4.0
_PR_SET_PDEATHSIG = 1
_FILES_MAX = 65_536


class NginxMaster:
    """One nginx and its workers. It dies with this process, however that ends (Linux)."""

    def __init__(self, binary: NginxBinary, installation: Installation) -> None:
        self._binary, self._installation = binary, installation
        self._template = (installation.assets / "nginx.conf").read_text()
        self._child: subprocess.Popen[bytes] | None = None
        self._known: set[int] = set()

    async def start(self, listening: socket.socket, shape: Shape) -> None:
        """Takes over `listening`. Raises Permanent, with what nginx said, where it does not come up."""
        installation = self._installation
        installation.inner.unlink(missing_ok=True)
        end_leftover(installation.state)
        self._write(shape)
        fd = listening.fileno()
        self._child = subprocess.Popen(  # noqa: ASYNC220 - fork and exec, a millisecond
            self._command(),
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NGINX": f"{fd};", "TZ": "UTC"},  # how nginx hands sockets to its next binary
            pass_fds=(fd,),
            process_group=0,  # its workers are in it, too: see `kill`
            preexec_fn=_before_exec,  # noqa: PLW1509 - no thread has been started yet
        )
        listening.close()
        if not await _wait_for(self._is_up, _START_S):
            self.kill()
            raise Permanent(f"nginx did not start: {self._complaint()}")
        self._known = set(self.workers())

    def _is_up(self) -> bool:
        return not self.is_running or (self._installation.inner.exists() and bool(self.workers()))

    def _command(self, *more: str) -> list[str]:
        state = self._installation.state
        return [str(self._binary.path), "-p", str(state), "-c", str(state / "nginx.conf"), "-e", "stderr", *more]

    def _write(self, shape: Shape) -> None:
        path = self._installation.state / "nginx.conf"
        path.write_text(render(self._template, self._installation, shape))

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        assert self._child is not None  # noqa: S101 - started
        return self._child.pid

    def workers(self) -> dict[int, str]:
        """All workers with their titles, those of former configurations included."""
        return {pid: title for pid, title in children(self.pid).items() if "nginx: worker" in title}

    def has_lost_worker(self) -> bool:
        """Whether a worker has died since the last look, other than by a reload."""
        now = {pid for pid, title in self.workers().items() if "shutting down" not in title}
        lost = self._known - now
        self._known = now
        return bool(lost)

    async def reload(self, shape: Shape) -> None:
        """Take a new shape; when this returns, every new connection is accepted with it. Raises Permanent."""
        old = set(self.workers())
        self._write(shape)
        os.kill(self.pid, signal.SIGHUP)

        def is_taken_over() -> bool:
            workers = self.workers()
            retired = all("shutting down" in workers.get(pid, "shutting down") for pid in old)
            return retired and bool(set(workers) - old)

        if not await _wait_for(is_taken_over, _RELOAD_S):
            raise Permanent(f"nginx did not take its new configuration: {self._complaint()}")
        self._known = {pid for pid in self.workers() if pid not in old}

    def _complaint(self) -> str:
        said = subprocess.run(self._command("-t"), capture_output=True, text=True, timeout=20, check=False).stderr
        lines = [line for line in said.splitlines() if "emerg" in line or "alert" in line]
        return lines[0] if lines else "see its log"

    async def tell(self, method: str, path: str, body: Any = None) -> Any:
        """One call of lb/control.js. Raises Temporary where it does not answer."""
        try:
            status, answer = await ask(str(self._installation.inner), method, path, body, timeout_s=_ANSWER_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise Temporary(f"nginx does not answer on its inner socket: {error or type(error).__name__}") from error
        if status >= 300:
            raise Temporary(f"nginx answered {status} to {method} {path} on its inner socket")
        return answer

    async def stop(self, grace_s: float) -> None:
        """Requests in flight may end for `grace_s` seconds. Idempotent."""
        for number, patience_s in ((signal.SIGQUIT, grace_s), (signal.SIGTERM, 1.0)):
            if self.is_running:
                os.kill(self.pid, number)
                await _wait_for(lambda: not self.is_running, patience_s)
        self.kill()

    def kill(self) -> None:
        """End it now, and its workers: they would outlive a master that was killed."""
        if self._child is None:
            return
        with suppress(OSError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


async def _wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


def _before_exec() -> None:
    """In the child: many files, and no life without its parent."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def end_leftover(state: Path) -> None:
    """An nginx of this very directory that has outlived its agent (macOS)."""
    with suppress(OSError, ValueError):
        pid = int((state / "nginx.pid").read_text())
        command = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if f"-p {state}" in command.stdout:
            os.kill(pid, signal.SIGTERM)
