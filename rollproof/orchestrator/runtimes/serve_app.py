"""`python -m rollproof.orchestrator.runtimes.serve_app module:factory`: any ASGI application, on $PORT.

`factory` is an application, or a callable without arguments that returns one. The working directory comes first
on the import path, as for `uvicorn module:app`.
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
    if hasattr(found, "http_app"):  # a FastMCP server: its application at /mcp
        return found.http_app()
    if _takes_no_arguments(found):
        made = found()
        return made.http_app() if hasattr(made, "http_app") else made
    return found


def _takes_no_arguments(found: Any) -> bool:
    """A factory, as opposed to an application, which takes scope, receive and send."""
    try:
        return not inspect.signature(found).parameters
    except (TypeError, ValueError):
        return False


def main() -> None:
    app = load(sys.argv[1])
    uvicorn.run(
        app,
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ["PORT"]),
        access_log=False,
        timeout_keep_alive=75,  # above the ALB's idle timeout of 60 s: else 502s that are nobody's rollout
        timeout_graceful_shutdown=25,
    )


if __name__ == "__main__":
    main()
