"""`python -m rollproof.probe`: the probe as a process of its own.

Prints the summary as JSON. Exit code 0 if every session was complete, 1 if not, 2 for a wrong flag, 3 if the
endpoint never answered, so that nothing was shown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rollproof.core.errors import RollproofError, UsageError
from rollproof.probe import flags
from rollproof.probe.options import CookieMode, Era, Increments, ProbeOptions, SessionIds
from rollproof.probe.run import run_probe

EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_USAGE, EXIT_UNKNOWN = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a probe as the flags say; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        summary = run_probe(_options(given), given.history, seed=given.seed, started_at=given.started_at)
    except RollproofError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"probe: {error.message}{hint}\n")
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_UNKNOWN
    except KeyboardInterrupt:
        sys.stderr.write("probe: cut off\n")
        return EXIT_UNKNOWN
    sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    if not summary["http_status_counts"]:
        return EXIT_UNKNOWN  # told to stop before the first call
    return EXIT_COMPLETE if summary["session_complete"] else EXIT_INCOMPLETE


def _options(given: argparse.Namespace) -> ProbeOptions:
    return ProbeOptions(
        endpoint=given.endpoint,
        sessions=given.sessions,
        calls=given.calls,
        delay_s=given.delay,
        era=Era(given.era),
        cookies=CookieMode(given.cookies),
        session_ids=SessionIds(given.session_ids),
        reinitialise=given.reinitialise,
        replay=given.replay,
        retries=given.retries,
        increments=Increments(given.increments),
        slow_every=given.slow_every,
        slow_s=given.slow_seconds,
        open_streams=given.open_streams,
        resume=not given.no_resume,
        activities=flags.activities(given.activities),
        tool=given.tool,
        arguments=flags.tool_arguments(given.args),
        headers=flags.headers(given.header),
        record_state=given.record_state,
        request_timeout_s=given.request_timeout,
        ramp_up_s=given.ramp_up,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rollproof.probe", description="MCP clients that write down every answer."
    )
    add = parser.add_argument
    add("--endpoint", required=True, help="URL of the MCP server, e.g. http://127.0.0.1:8080/mcp")
    add("--history", type=Path, default=Path("history.jsonl"), help="where to append the records")
    add("--started-at", type=float, help="UNIX time that the records' t counts from; default: now")
    add("--sessions", type=int, default=1)
    add("--calls", type=int, default=0, help="operations a session; 0: until SIGINT or SIGTERM")
    add("--delay", type=float, default=2.0, help="seconds between two calls of a session")
    add("--era", choices=list(Era), default=Era.LEGACY)
    add("--cookies", choices=list(CookieMode), default=CookieMode.FULL)
    add("--session-ids", choices=list(SessionIds), default=SessionIds.AUTO)
    add("--reinitialise", action="store_true", help="open a new session on 404")
    add("--replay", action="store_true", help="a session that began anew does again all it had done")
    add("--retries", type=int, default=0, help="how often a failed operation is repeated")
    add("--increments", choices=list(Increments), default=Increments.NONE)
    add("--slow-every", type=int, default=0, help="every Nth session keeps a slow call in flight")
    add("--slow-seconds", type=float, default=10.0)
    add("--open-streams", action="store_true", help="hold a GET stream per session")
    add("--no-resume", action="store_true", help="do not take up broken answers with Last-Event-ID")
    add("--activities", default="", help="all, or some of elicitation,sampling,... : one after each operation")
    add("--tool", default="", help="call this tool instead of the sample's")
    add("--args", default="", help="its arguments, a JSON object")
    add("--header", action="append", default=[], help="'Name: value', sent with every request")
    add("--record-state", action="store_true", help="record whole states, not their sizes alone")
    add("--request-timeout", type=float, default=30.0)
    add("--ramp-up", type=float, default=0.0)
    add("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
