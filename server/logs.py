"""JSON logs on stdout, one object a line: what CloudWatch's metric filters can select on.

Every line has `ts` (UTC), `level` and `event`. Lines of libraries have event "log" with `logger` and `message`.
Session ids never appear: where a server is stateless, whoever knows one reads its state. A short digest
stands in, the same on every task, so that one session can still be followed through a rollout.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_logger = logging.getLogger("server")

# Libraries that write a line a request, or greet at start; ours says the same in one line.
QUIET_LOGGERS = ("mcp", "uvicorn", "fastmcp", "httpx", "asyncio")

# Its warnings and errors name session ids. That its Redis is away, which is ours, is said by our own store.
SILENT_LOGGERS = ("mcp_persist",)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, whatever was logged."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
        }
        fields: dict[str, Any] | None = getattr(record, "fields", None)
        if fields is None:
            line |= {"event": "log", "logger": record.name, "message": record.getMessage()}
        else:
            line |= {"event": record.msg, **fields}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"), default=str)


def configure_logging(level: str) -> None:
    """Send every logger of the process through one JSON handler. Libraries speak from WARNING up."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LOGGERS:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    for name in SILENT_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def log_event(event: str, /, *, level: int = logging.INFO, **fields: Any) -> None:
    """Write one line of our own."""
    if _logger.isEnabledFor(level):
        _logger.log(level, event, extra={"fields": fields})


def session_digest(session_id: str) -> str:
    """12 hex digits that stand for a session in the log."""
    return hashlib.blake2b(session_id.encode(), digest_size=6).hexdigest()
