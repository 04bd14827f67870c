"""The environment is checked at start, and a wrong variable is named with its value and what is allowed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from server_process import REPOSITORY

from server.app import create_app
from server.session_store import create_session_store
from server.settings import Settings, SettingsError, redact

SECRET = "secret"


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({"REDIS_URL": "", "PORT": " "}) == Settings()


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        {
            "HOST": "0.0.0.0",
            "PORT": "9000",
            "REDIS_URL": "rediss://user:secret@redis.internal:6380/1",
            "MCP_SESSIONS": "sdk",
            "MCP_STATELESS_HTTP": "true",
            "MCP_MINT_SESSION_ID": "true",
            "MCP_REQUIRE_SESSION_ID": "false",
            "MCP_REQUEST_STATE_KEY": f"{SECRET}-0123456789abcdef0123456789",
            "MCP_JSON_RESPONSE": "YES",
            "SESSION_TTL_SECONDS": "7200",
            "IDEMPOTENCY_TTL_SECONDS": "60",
            "SHUTDOWN_GRACE_SECONDS": "10",
            "KEEP_ALIVE_SECONDS": "120",
            "APP_VERSION": "v2",
            "LOG_LEVEL": "debug",
            "ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/abc",
        }
    )
    assert settings == Settings(
        host="0.0.0.0",
        port=9000,
        redis_url="rediss://user:secret@redis.internal:6380/1",
        stateless_http=True,
        mint_session_id=True,
        require_session_id=False,
        request_state_key=f"{SECRET}-0123456789abcdef0123456789".encode(),
        json_response=True,
        session_ttl_s=7200,
        idempotency_ttl_s=60,
        shutdown_grace_s=10,
        keep_alive_s=120,
        app_version="v2",
        log_level="DEBUG",
        metadata_uri="http://169.254.170.2/v4/abc",
    )
    assert SECRET not in repr(settings)


def test_a_recorded_call_never_outlives_its_session() -> None:
    assert Settings.from_environment({"SESSION_TTL_SECONDS": "10"}).idempotency_ttl_s == 10


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PORT", "http", "PORT='http' is not allowed: a whole number from 0 to 65535"),
        ("PORT", "65536", "PORT='65536' is not allowed: a whole number from 0 to 65535"),
        ("PORT", "8_000", "PORT='8_000' is not allowed: a whole number from 0 to 65535"),
        ("PORT", "٨", "PORT='٨' is not allowed: a whole number from 0 to 65535"),
        (
            "SESSION_TTL_SECONDS",
            "0",
            "SESSION_TTL_SECONDS='0' is not allowed: a whole number from 1 to 31536000",
        ),
        ("SHUTDOWN_GRACE_SECONDS", "-1", "SHUTDOWN_GRACE_SECONDS='-1' is not allowed: a whole number from 0 to 3600"),
        (
            "MCP_STATELESS_HTTP",
            "maybe",
            "MCP_STATELESS_HTTP='maybe' is not allowed: true or false (also 1/0, yes/no, on/off)",
        ),
        ("MCP_SESSIONS", "sticky", "MCP_SESSIONS='sticky' is not allowed: one of sdk, durable, resilient"),
        ("MCP_REQUEST_STATE_KEY", "secret" * 5, "MCP_REQUEST_STATE_KEY=*** is not allowed: at least 32 bytes"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL='loud' is not allowed: one of DEBUG, INFO, WARNING, ERROR"),
        ("HOST", "a b", "HOST='a b' is not allowed: at most 255 printable characters without spaces"),
        ("ECS_CONTAINER_METADATA_URI_V4", "file:///etc", "ECS_CONTAINER_METADATA_URI_V4='file:///etc' is not allowed"),
        ("REDIS_URL", "redis.internal:6379", "REDIS_URL=*** is not allowed: redis://"),
        ("REDIS_URL", "http://u:secret@h", "REDIS_URL=http://***@h is not allowed: redis://"),
        ("REDIS_URL", "redis://:sec/ret@h", "REDIS_URL=redis://*** is not allowed: redis://"),
        ("REDIS_URL", "redis://h/first", "REDIS_URL=redis://h/first is not allowed: redis://"),
        ("REDIS_URL", "redis://h:0", "REDIS_URL=redis://h:0 is not allowed: redis://"),
        ("REDIS_URL", "redis://", "REDIS_URL=redis:// is not allowed: redis://"),
        ("REDIS_URL", "unix://", "REDIS_URL=unix:// is not allowed: redis://"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(name: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({name: value})
    (line,) = refused.value.problems
    assert line.startswith(problem)
    assert "secret" not in line


@pytest.mark.parametrize("sessions", ["durable", "resilient"])
def test_what_contradicts_each_other_is_refused(sessions: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"MCP_SESSIONS": sessions, "MCP_STATELESS_HTTP": "true"})
    assert refused.value.problems == [
        f"MCP_SESSIONS={sessions!r} keeps sessions in Redis: set REDIS_URL",
        f"MCP_SESSIONS={sessions!r} and MCP_STATELESS_HTTP='true' exclude each other: "
        "a stateless server has no sessions to keep",
    ]


def test_only_a_stateless_server_mints_session_ids() -> None:
    with pytest.raises(SettingsError, match="MCP_MINT_SESSION_ID='true' needs MCP_STATELESS_HTTP='true'"):
        Settings.from_environment({"MCP_MINT_SESSION_ID": "true"})


@pytest.mark.parametrize(("sessions", "module"), [("durable", "mcp_persist"), ("resilient", "rollproof.sessions")])
def test_sessions_of_a_package_that_is_not_installed_are_refused_at_start(
    sessions: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not there
    monkeypatch.delitem(sys.modules, "server.durable_sessions", raising=False)
    with pytest.raises(SettingsError, match=rf"MCP_SESSIONS='{sessions}' is not allowed here: .* no '{module}'"):
        create_app(Settings(sessions=sessions, redis_url="redis://127.0.0.1:1"), task_id="task-a")


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"PORT": "x", "LOG_LEVEL": "y"})
    assert len(refused.value.problems) == 2


def test_an_option_that_the_redis_client_does_not_know_is_refused_before_the_first_call() -> None:
    settings = Settings.from_environment({"REDIS_URL": "redis://:secret@h:1/0?no_such_option=1"})
    with pytest.raises(SettingsError, match=r"REDIS_URL=redis://.*@h:1/0 is not allowed.*no_such_option") as refused:
        create_session_store(settings)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h", "redis://h"),
        ("redis://user:secret@h:6379/0", "redis://***@h:6379/0"),
        ("rediss://:secret@[::1]:6379/0?password=secret", "rediss://***@[::1]:6379/0"),
        ("redis://:sec?ret@h", "redis://***"),
        ("redis://:sec#ret@h", "redis://***"),
        ("redis://:secret", "redis://***"),
        ("unix://secret@/run/redis.sock?db=1", "unix://***@/run/redis.sock"),
        ("user:secret@h", "***"),
        ("", "***"),
    ],
)
def test_no_secret_of_a_url_is_ever_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"PORT": "eighty"}, "server: PORT='eighty' is not allowed: a whole number from 0 to 65535\n"),
        (
            {"PORT": "0", "HOST": "no-such-host.invalid"},
            "server: HOST='no-such-host.invalid' is not allowed: an address or name of this machine\n",
        ),
    ],
)
def test_the_process_ends_with_exit_code_2_and_one_line(environment: dict[str, str], line: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "server"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, line, "")
