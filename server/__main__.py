"""`python -m server`. Exit code 0 after a graceful stop, 2 for a wrong setting, 1 where it cannot listen."""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import FrameType

from server.logs import configure_logging
from server.settings import Settings, SettingsError, redact

EXIT_CANNOT_LISTEN = 1
EXIT_USAGE = 2
BACKLOG = 2048


def main() -> int:
    """Check the settings, listen, serve until SIGTERM."""
    # As process 1 of a container there is no default action: unhandled, a SIGTERM during start-up would be ignored.
    signal.signal(signal.SIGTERM, _exit_during_start)
    try:
        settings = Settings.from_environment(os.environ)
        listener = listen(settings)
    except SettingsError as error:
        return _fail(EXIT_USAGE, *error.problems)
    except OSError as error:
        reason = error.strerror or str(error)
        return _fail(EXIT_CANNOT_LISTEN, f"cannot listen on HOST={settings.host} PORT={settings.port}: {reason}")
    try:
        serve(settings, listener)
    except SettingsError as error:
        return _fail(EXIT_USAGE, *error.problems)
    return 0


def listen(settings: Settings) -> socket.socket:
    """Bind before anything slow is loaded, so that a taken port is said at once. Raises OSError, SettingsError."""
    try:
        addresses = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        allowed = "an address or name of this machine"
        raise SettingsError([f"HOST={settings.host!r} is not allowed: {allowed}"]) from None
    family, _, _, _, address = addresses[0]
    # Not listening yet: a health check must fail to connect, not wait, until the application has started.
    # The protocol is named because asyncio sets TCP_NODELAY only where it is: else an answer in two parts waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until told to stop. Raises SettingsError for a REDIS_URL that the Redis client does not understand."""
    import uvicorn  # noqa: PLC0415 - a second of imports, for which a wrong setting need not wait

    from server.app import create_app  # noqa: PLC0415
    from server.shutdown import Drain, GracefulServer  # noqa: PLC0415
    from server.task_metadata import find_task_id  # noqa: PLC0415

    configure_logging(settings.log_level)  # only now: fastmcp sets up handlers of its own when it is imported
    task_id = find_task_id(settings.metadata_uri)
    drain = Drain()
    config = uvicorn.Config(
        create_app(settings, task_id=task_id, drain=drain),
        loop="auto",  # uvloop and httptools where they are installed
        http="auto",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )
    host, port = listener.getsockname()[:2]
    announcement = {
        "version": settings.app_version,
        "host": host,
        "port": port,
        "pid": os.getpid(),
        "session_store": "memory" if settings.redis_url is None else redact(settings.redis_url),
        "sessions": settings.sessions,
        "stateless_http": settings.stateless_http,
        "json_response": settings.json_response,
    }
    GracefulServer(config, drain, task_id, announcement).run(sockets=[listener])


def _exit_during_start(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _fail(exit_code: int, *problems: str) -> int:
    for problem in problems:
        sys.stderr.write(f"server: {problem}\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
