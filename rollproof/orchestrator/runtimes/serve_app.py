"""`python -m rollproof.orchestrator.runtimes.serve_app module:factory`: any ASGI application, on $PORT.

`factory` is an application, a FastMCP server, or a callable that needs no arguments and returns one of them. The
working directory comes first on the import path, as for `uvicorn module:app`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Any

import uvicorn

USAGE = 2


def load(name: str) -> Any:
    """The application that `module:attribute` names. Raises SystemExit with one line saying what is wrong."""
    module_name, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        print(f"--app {name}: {error}", file=sys.stderr)  # noqa: T201 - the task's own log
        raise SystemExit(USAGE) from error
    if not hasattr(found, "http_app") and _needs_no_arguments(found):
        found = found()
    app = as_asgi(found)
    if not callable(app):
        print(f"--app {name}: {type(app).__name__} is no ASGI application", file=sys.stderr)  # noqa: T201
        raise SystemExit(USAGE)
    return app


def _needs_no_arguments(found: Any) -> bool:
    """A factory, as opposed to an application, which takes scope, receive and send."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    return all(x.default is not x.empty or x.kind is x.VAR_KEYWORD for x in parameters)


KEEP_ALIVE_S = 75  # above the ALB's idle timeout of 60 s: else 502s that are nobody's rollout
SHUTDOWN_GRACE_S = 25


def as_asgi(made: Any) -> Any:
    """The application of a FastMCP server, whose endpoint is /mcp; any other as it is."""
    return made.http_app() if hasattr(made, "http_app") else made


def main() -> None:
    app = load(sys.argv[1])
    uvicorn.run(
        app,
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ["PORT"]),
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


if __name__ == "__main__":
    main()
