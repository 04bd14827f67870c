"""The Compose project as the user's machine sees it, behind a `docker` of the test's own."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.errors import Permanent, RollproofError, Temporary, UsageError
from rollproof.orchestrator.compose_stage import ComposeStage, find_compose_file

DOCKER = """#!{python}
import json, os, sys, time
words, here = sys.argv[1:], {here!r}
with open(here + "/calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
for answer in json.load(open(here + "/answers")):
    if all(word in words for word in answer["to"]):
        if answer.get("reads"):
            open(here + "/read", "wb").write(sys.stdin.buffer.read())
        out = open(answer["file"], "rb").read() if "file" in answer else answer.get("out", "").encode()
        sys.stdout.buffer.write(out)
        sys.stdout.flush()
        sys.stderr.write(answer.get("err", ""))
        if answer.get("hangs"):
            time.sleep(60)
        sys.exit(answer.get("code", 0))
"""
RUN = {"kind": "run", "name": "20260101T000000-sample-rolling"}
MARK = {"kind": "mark", "t": 1.0, "name": "warmed-up"}


class FakeDocker:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        program = directory / "docker"
        program.write_text(DOCKER.format(python=sys.executable, here=str(directory)))
        program.chmod(0o755)
        self.answers()

    def answers(self, *answers: dict[str, Any]) -> None:
        (self.directory / "answers").write_text(json.dumps(answers))

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.directory / "calls").read_text().splitlines()]


@pytest.fixture
def docker(tmp_path: Path) -> FakeDocker:
    return FakeDocker(tmp_path)


@pytest.fixture
def stage(docker: FakeDocker) -> ComposeStage:
    return ComposeStage(Path("/p/docker-compose.yml"), {"PATH": f"{docker.directory}:{os.environ['PATH']}"})


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


async def test_is_up_while_its_orchestrator_runs(docker: FakeDocker, stage: ComposeStage) -> None:
    docker.answers({"to": ["ps"], "out": "lb\norchestrator\nserver\n"})
    assert await stage.is_up()
    docker.answers({"to": ["ps"], "out": "lb\n"})
    assert not await stage.is_up()
    assert await stage.is_there()
    assert docker.calls[0][:3] == ["compose", "--file", "/p/docker-compose.yml"]


@pytest.mark.parametrize(
    ("said", "kind", "message", "hint"),
    [
        ("Cannot connect to the Docker daemon at unix:///x", UsageError, "no Docker Engine answers", "local stage"),
        ("docker: 'compose' is not a docker command.", UsageError, "no Compose plugin", "2.24"),
        ("Bind for 127.0.0.1:8080 failed: port is already allocated", UsageError, "8080", "--port"),
        ("container x is unhealthy", Permanent, "docker compose up failed", "the orchestrator said"),
    ],
)
async def test_what_docker_says_instead_of_starting_it(
    docker: FakeDocker, stage: ComposeStage, said: str, kind: type[RollproofError], message: str, hint: str
) -> None:
    docker.answers({"to": ["up"], "err": said, "code": 1}, {"to": ["logs"], "out": "orchestrator-1 | no"})
    with pytest.raises(kind) as raised:
        await stage.up()
    assert message in raised.value.message
    assert hint in raised.value.hint


async def test_an_image_that_is_not_here_is_said_before_anything_starts(
    docker: FakeDocker, stage: ComposeStage
) -> None:
    docker.answers({"to": ["inspect", "absent:9"], "err": "Error: No such image: absent:9", "code": 1})
    with pytest.raises(UsageError, match="no image absent:9 on this machine"):
        await stage.check_image("absent:9")
    await stage.check_image("present:1")


async def test_no_docker_command_is_said() -> None:
    stage = ComposeStage(Path("docker-compose.yml"), {"PATH": ""})
    with pytest.raises(UsageError, match="no docker command on PATH"):
        await stage.is_up()


async def test_records_come_as_the_client_writes_them(docker: FakeDocker, stage: ComposeStage) -> None:
    out = lines(RUN) + "not a record\n" + lines(MARK)
    docker.answers({"to": ["run", "client", "play"], "out": out, "reads": True})
    assert [record async for record in stage.play(b"the order")] == [MARK]
    assert stage.run_name == RUN["name"]
    assert (docker.directory / "read").read_bytes() == b"the order"


@pytest.mark.parametrize("kind", [UsageError, Permanent, Temporary])
async def test_the_clients_failure_is_ours(docker: FakeDocker, stage: ComposeStage, kind: type[RollproofError]) -> None:
    failed = {"kind": "failed", "error": kind.__name__, "message": "no", "hint": "next"}
    docker.answers({"to": ["play"], "out": lines(RUN, failed), "reads": True})
    with pytest.raises(kind, match="no") as raised:
        async for _ in stage.play(b""):
            pass
    assert raised.value.hint == "next"


async def test_a_client_that_ends_without_a_word_is_a_failure(docker: FakeDocker, stage: ComposeStage) -> None:
    docker.answers({"to": ["play"], "err": "no such image\n", "code": 125, "reads": True})
    with pytest.raises(Permanent, match="ended with 125") as raised:
        async for _ in stage.play(b""):
            pass
    assert raised.value.hint == "no such image"


async def test_closed_early_the_clients_container_is_stopped_and_removed(
    docker: FakeDocker, stage: ComposeStage
) -> None:
    docker.answers({"to": ["play"], "out": lines(RUN, MARK), "hangs": True})
    records = stage.play(b"")
    assert await anext(records) == MARK
    await records.aclose()
    run, stop, remove = docker.calls
    name = run[run.index("--name") + 1]
    assert stop == ["stop", "--time", "20", name]
    assert remove == ["rm", "--force", name]


def packed(add: Callable[[tarfile.TarFile], None], path: Path) -> str:
    with tarfile.open(path, "w") as archive:
        add(archive)
    return str(path)


def member(name: str, content: bytes) -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))

    return add


async def test_a_run_is_unpacked_where_runs_are_kept(docker: FakeDocker, stage: ComposeStage, tmp_path: Path) -> None:
    docker.answers({"to": ["tar"], "file": packed(member("a-run/history.jsonl", b"{}\n"), tmp_path / "t")})
    run_dir = await stage.fetch("a-run", tmp_path / "runs")
    assert (run_dir / "history.jsonl").read_bytes() == b"{}\n"


async def test_an_archive_that_reaches_outside_is_refused(
    docker: FakeDocker, stage: ComposeStage, tmp_path: Path
) -> None:
    docker.answers({"to": ["tar"], "file": packed(member("../outside", b"x"), tmp_path / "t")})
    with pytest.raises(Permanent, match="cannot write the run"):
        await stage.fetch("a-run", tmp_path / "runs")
    assert not (tmp_path / "outside").exists()


def test_the_compose_file_is_rollproofs_own(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("services: {}\n")
    with pytest.raises(UsageError, match="the docker stage needs"):
        find_compose_file(tmp_path)
    (tmp_path / "docker-compose.yml").write_text("services: {o: {image: rollproof-orchestrator}}\n")
    assert find_compose_file(tmp_path) == tmp_path / "docker-compose.yml"
