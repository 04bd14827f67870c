"""`python -m rollproof`, and the console script: the command line, with Ctrl-C in force from the first moment.

Importing everything takes a second. Python's own handling of Ctrl-C raises KeyboardInterrupt wherever it happens to
be, and an import that is interrupted in the wrong place loses it: the command would go on. Nothing has been started
by then, so until a command takes over (cli/running.py) the signal simply ends the process.
"""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130


def end_now(*_: object) -> None:
    os._exit(INTERRUPTED)


def main() -> None:
    signal.signal(signal.SIGINT, end_now)
    from rollproof.cli.main import main as command_line  # noqa: PLC0415 - after the handler, that is the point

    command_line()


if __name__ == "__main__":
    main()
