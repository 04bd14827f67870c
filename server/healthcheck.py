"""The container's health check command: `python -m server.healthcheck`. Exit code 0 or 1.

Standard library only, no import of the server: ECS starts it every few seconds in a small container.
"""

from __future__ import annotations

import http.client
import os
import sys

DEFAULT_PORT = 8000
TIMEOUT_S = 3.0  # below the 5 s that a task definition gives the command by default


def main() -> int:
    """Ask this container's own /health. A task that drains answers 503 and counts as unhealthy."""
    try:
        port = int(os.environ.get("PORT") or DEFAULT_PORT)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/health")
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        sys.stderr.write(f"health check failed: {type(error).__name__}: {error}\n")
        return 1
    if status != http.client.OK:
        sys.stderr.write(f"health check failed: status {status}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
