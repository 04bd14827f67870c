"""The Compose project as the user's machine sees it: `docker compose`, and nothing else of Docker.

The orchestrator, its control socket and the runs are inside the project, on its volumes. So whatever is to be done
there is done by the project's own client container; this module starts it, and speaks JSON lines with it:

    standard input     the order, once                        (docker_rehearsal.py)
    standard output    {"kind": "run", "name": ...}           the run's directory below /runs
                       history records, as they come
                       {"kind": "failed", "error": "UsageError", "message": ..., "hint": ...}     instead of an end
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
import shutil
import subprocess
import tarfile
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rollproof.core.errors import Permanent, RollproofError, Temporary, UsageError
from rollproof.history import Record

COMPOSE_FILE = "docker-compose.yml"
ANY_PROFILE = ("--profile", "*")

_ERRORS: Mapping[str, type[RollproofError]] = {
    "UsageError": UsageError, "Permanent": Permanent, "Temporary": Temporary,
}  # fmt: skip
_LINE_LIMIT = 1 << 24
_STOP_PATIENCE_S = 10.0
_CLEAN_UP_S = 20  # for the client: it says goodbye to its sessions and ends the run
_TAIL = 12

Say = Callable[[str], None]


def find_compose_file(*roots: Path) -> Path:
    """The project's docker-compose.yml in the first of `roots` that has it. Raises UsageError where none has."""
    for root in roots:
        path = root / COMPOSE_FILE
        if path.is_file() and "rollproof-orchestrator" in path.read_text(encoding="utf-8", errors="replace"):
            return path
    raise UsageError(
        f"the docker stage needs rollproof's own {COMPOSE_FILE}, which an installed package does not have",
        hint="run it in a checkout of the repository; the local stage needs no Docker",
    )


class ComposeStage:
    """`environment` on top of this process's own: ROLLPROOF_PORT, ROLLPROOF_IMAGE, ... of docker-compose.yml.

    `run_name` is that of the last run that was played, below the project's /runs.
    """

    def __init__(
        self, compose_file: Path, environment: Mapping[str, str] | None = None, *, overlays: Sequence[Path] = ()
    ) -> None:
        files = [word for path in (compose_file, *overlays) for word in ("--file", str(path))]
        self._words = ("docker", "compose", *files)
        self._environment = {**os.environ, **(environment or {})}
        self.run_name = ""

    def command(self, *words: str) -> list[str]:
        """A `docker compose` command of this project."""
        return [*self._words, *words]

    @property
    def environment(self) -> Mapping[str, str]:
        return self._environment

    async def is_up(self) -> bool:
        """Whether its orchestrator runs. Raises UsageError where there is no Docker to ask."""
        return "orchestrator" in await self._running()

    async def is_there(self) -> bool:
        """Whether anything of it runs. Raises UsageError where there is no Docker to ask."""
        return bool(await self._running())

    async def _running(self) -> list[str]:
        """The services of which a container runs."""
        return (await self._ask("ps", "--services", "--status", "running")).split()

    async def up(self, say: Say | None = None) -> None:
        """Build what has changed, start it, and wait until the service is steady. Raises Permanent if it is not."""
        tell = say or (lambda _: None)
        tell("building the images (the first time it takes minutes)")
        await self._ask("--profile", "client", "build")
        tell("starting load balancer, Redis, orchestrator and tasks")
        try:
            await self._ask("up", "--detach", "--wait")
        except Permanent as error:
            logs = await self._ask("logs", "--no-color", "--no-log-prefix", "--tail", str(_TAIL), "orchestrator")
            raise Permanent(error.message, hint=f"the orchestrator said:\n{logs.strip()}") from error

    async def check_image(self, name: str) -> None:
        """Raises UsageError where there is no such image on this machine: tasks pull nothing."""
        process = await self._start(("docker", "image", "inspect", name), stdin=subprocess.DEVNULL)
        _, err = await process.communicate()
        if process.returncode:
            if "no such image" in err.decode(errors="replace").lower():
                raise UsageError(
                    f"there is no image {name} on this machine", hint="docker build or docker pull it first"
                )
            raise _failure(("image",), err.decode(errors="replace"))

    async def down(self, say: Say | None = None) -> None:
        """End everything of the project, its volumes and runs too. Raises Permanent where something is left."""
        if say is not None:
            say("ending the project")
        await self._ask(*ANY_PROFILE, "down", "--volumes", "--remove-orphans")

    async def published_address(self) -> str:
        """HOST:PORT of the load balancer on this machine."""
        return (await self._ask("port", "lb", "8080")).strip()

    async def set_stage(self, order: bytes) -> None:
        """Set the service as the order's programme says. Raises as `play`."""
        async for _ in self._client("set-stage", order):
            pass

    async def play(self, order: bytes) -> AsyncGenerator[Record, None]:
        """The records of the play of `order`, as they come. Closed early, it ends the client's container.

        Raises what the client raised, or Permanent where it ended without a word.
        """
        self.run_name = ""
        records = self._client("play", order)
        try:
            async for record in records:
                if record["kind"] == "run":
                    self.run_name = str(record["name"])
                else:
                    yield record
        finally:
            await records.aclose()

    async def _client(self, verb: str, order: bytes) -> AsyncGenerator[Record, None]:
        name = f"rollproof-client-{secrets.token_hex(4)}"
        words = self.command("run", "--rm", "--no-deps", "-T", "--name", name, "client", verb)
        process = await self._start(words, stdin=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None  # noqa: PT018, S101
        said = asyncio.create_task(_tail(process.stderr))
        try:
            process.stdin.write(order)
            process.stdin.close()
            while line := await process.stdout.readline():
                record = _record(line)
                if record.get("kind") == "failed":
                    raise _ERRORS.get(record["error"], Permanent)(record["message"], hint=record["hint"])
                if "kind" in record:
                    yield record
            if code := await process.wait():
                raise Permanent(f"the client's container ended with {code}", hint=await said)
        finally:
            if process.returncode is None:
                await self._stop_container(name)
            await _end(process)
            said.cancel()

    async def _stop_container(self, name: str) -> None:
        """`docker compose run` leaves its container behind when it is ended itself."""
        for words in (("stop", "--time", str(_CLEAN_UP_S), name), ("rm", "--force", name)):
            process = await self._start(("docker", *words), stdin=subprocess.DEVNULL)
            await process.communicate()

    async def fetch(self, name: str, runs_dir: Path) -> Path:
        """Copy the run `name` of the project into `runs_dir`. Raises Permanent where that cannot be done."""
        words = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "tar", "client")
        packed = await self._ask_bytes(*words, "-C", "/runs", "-chf", "-", name)
        return _unpack(packed, runs_dir) / name

    # -- the command ----------------------------------------------------------------------------------------------

    async def _start(self, words: Sequence[str], stdin: int) -> asyncio.subprocess.Process:
        """In a session of its own: Ctrl-C comes to us, and we say when it ends."""
        if shutil.which("docker", path=self._environment.get("PATH")) is None:
            raise UsageError(
                "the docker stage needs Docker, and there is no docker command on PATH",
                hint="without Docker: rollproof rehearse --stage local",
            )
        return await asyncio.create_subprocess_exec(
            *words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._environment,
            start_new_session=True, limit=_LINE_LIMIT,
        )  # fmt: skip

    async def _ask_bytes(self, *words: str) -> bytes:
        """Its standard output. Raises UsageError or Permanent with what it said instead."""
        process = await self._start(self.command(*words), stdin=subprocess.DEVNULL)
        try:
            out, err = await process.communicate()
        finally:
            await _end(process)
        if process.returncode:
            raise _failure(words, err.decode(errors="replace"))
        return out

    async def _ask(self, *words: str) -> str:
        return (await self._ask_bytes(*words)).decode(errors="replace")


def _unpack(packed: bytes, directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(directory, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise Permanent(f"cannot write the run to {directory}: {error}", hint="give --runs DIR") from error
    return directory.absolute()


def _record(line: bytes) -> Record:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return dict(found) if isinstance(found, dict) else {}


async def _tail(stream: asyncio.StreamReader) -> str:
    """The last lines of what it says."""
    last: deque[str] = deque(maxlen=_TAIL)
    with suppress(ValueError):
        while line := await stream.readline():
            last.append(line.decode(errors="replace").rstrip())
    return "\n".join(last)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_PATIENCE_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _failure(words: Sequence[str], said: str) -> RollproofError:
    lines = [line for line in said.splitlines() if line.strip()]
    last = "\n".join(lines[-_TAIL:]) or "it said nothing"
    verb = next((word for word in words if word in ("ps", "up", "down", "build", "run")), "docker compose")
    if "Cannot connect to the Docker daemon" in said or "failed to connect to the docker API" in said:
        return UsageError(f"no Docker Engine answers: {lines[-1]}", hint="start it; or use the local stage")
    if "is not a docker command" in said or "unknown command: docker compose" in said:
        return UsageError(
            "this Docker has no Compose plugin", hint="install docker-compose-plugin (Compose 2.24 or newer)"
        )
    if "port is already allocated" in said or "address already in use" in said:
        return UsageError(f"docker compose {verb}: {lines[-1]}", hint="give another --port, or end what has it")
    hint = "docker compose build" if verb == "build" else "docker compose ps -a; docker compose logs"
    return Permanent(f"docker compose {verb} failed:\n{last}", hint=f"{hint} shows more")


def as_json(kind: str, **fields: Any) -> str:
    """A line of the client's standard output."""
    return json.dumps({"kind": kind, **fields}, separators=(",", ":"), default=str)
