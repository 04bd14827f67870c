"""Every line is one JSON object, whoever wrote it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from server.logs import JsonFormatter, configure_logging, log_event, session_digest


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """The process's logging is put back as it was."""
    root = logging.getLogger()
    libraries = [logging.getLogger(name) for name in ("mcp", "uvicorn", "fastmcp", "httpx", "asyncio")]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in (root, *libraries)]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_our_events_and_those_of_libraries_take_one_form(
    restored_logging: None, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO")
    log_event("tool_call", tool="ping", success=True)
    log_event("detail", level=logging.DEBUG)
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    logging.getLogger("mcp.server").warning("odd %s", "thing")
    ours, theirs = lines(capsys)
    assert list(ours) == ["ts", "level", "event", "tool", "success"]
    assert (ours["level"], ours["event"]) == ("info", "tool_call")
    assert list(theirs) == ["ts", "level", "event", "logger", "message"]
    assert (theirs["level"], theirs["event"], theirs["logger"], theirs["message"]) == (
        "warning",
        "log",
        "mcp.server",
        "odd thing",
    )


def test_debug_lets_libraries_speak(restored_logging: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("DEBUG")
    logging.getLogger("mcp.server").debug("detail")
    assert [line["message"] for line in lines(capsys)] == ["detail"]


def test_a_traceback_stays_in_its_line() -> None:
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it\nfailed", None, sys.exc_info())
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert "RuntimeError: first\nsecond" in json.loads(text)["traceback"]


def test_what_json_does_not_know_is_written_as_text() -> None:
    record = logging.LogRecord("server", logging.INFO, __file__, 1, "event", None, None)
    record.fields = {"value": {1, 2}}
    assert json.loads(JsonFormatter().format(record))["value"] == "{1, 2}"


def test_a_session_has_the_same_digest_on_every_task_and_its_id_is_not_in_it() -> None:
    assert session_digest("client-1") == session_digest("client-1") == "dd05f35c5bf2"
    assert session_digest("client-2") != session_digest("client-1")
