"""`python -m server`. Exit code 0 after a graceful stop, 2 for a wrong setting, 1 where it cannot listen."""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import FrameType

from server.settings import Settings, SettingsError

EXIT_CANNOT_LISTEN = 1
EXIT_USAGE = 2


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
    from server.serving import create_uvicorn_server  # noqa: PLC0415 - a second of imports: a wrong setting need not wait

    host, port = listener.getsockname()[:2]
    create_uvicorn_server(settings, host=host, port=port).run(sockets=[listener])


def _exit_during_start(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _fail(exit_code: int, *problems: str) -> int:
    for problem in problems:
        sys.stderr.write(f"server: {problem}\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
