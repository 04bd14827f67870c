"""`make conformance`: the official suite against one replica and against several, through a strict round robin.

Prints a table; with `--report` it writes docs/conformance.md. Exit code 0 where `resilient` scored as one replica alone
does, 1 where it did not, 2 for a wrong flag or a failed installation, 3 where that was not shown (130 after Ctrl-C).
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rollproof.core.errors import RollproofError
from rollproof.orchestrator.redis_server import RedisServer, provide_redis
from tests.conformance import report, server, setups, suite
from tests.conformance.replicas import Fleet, Unavailable, fleet
from tests.conformance.round_robin import RoundRobin, round_robin
from tests.conformance.setups import Setup

REPLACEMENTS = 4  # at least, in a rollout: each of two replicas twice
RUNS_MAX = 12
PAGE = suite.REPOSITORY / "docs" / "conformance.md"
EXIT_USAGE, EXIT_INTERRUPTED = 2, 130


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


async def conform(given: argparse.Namespace, chosen: Sequence[Setup], directory: Path) -> list[report.Outcome]:
    """One outcome a setup, in order."""
    tools = await asyncio.to_thread(suite.install)
    redis = await provide_redis(directory)
    try:
        async with round_robin(directory) as balancer:
            outcomes = []
            for setup in chosen:
                await redis.restart()  # nothing of the setup before
                say(f"{setup.name}: {setup.summary}")
                outcome = await _measure(setup, tools, redis, balancer, directory, given)
                say(f"  {_told(outcome)}")
                outcomes.append(outcome)
            return outcomes
    finally:
        await asyncio.shield(redis.stop())


async def _measure(
    setup: Setup,
    tools: suite.Tools,
    redis: RedisServer,
    balancer: RoundRobin,
    directory: Path,
    given: argparse.Namespace,
) -> report.Outcome:
    logs = directory / setup.name
    logs.mkdir()
    tasks = "redis" if given.extras else "memory"
    command = (str(tools.python), "-m", "tests.conformance.server", "--sessions", setup.sessions, "--tasks", tasks)
    environment = {"PYTHONPATH": str(suite.REPOSITORY), server.URL_VARIABLE: redis.url}
    if given.extras:
        environment[server.KEY_VARIABLE] = secrets.token_urlsafe(32)
    async with fleet(command, environment, balancer, logs) as replicas:
        try:
            await replicas.start(setup.replicas)
        except Unavailable as error:
            return report.Outcome(setup, why=error.message)
        scores = await _run(setup, tools, balancer, replicas, logs, given.scenarios)
        return report.Outcome(setup, suite.worst(scores), len(scores), replicas.replaced)


async def _run(
    setup: Setup, tools: suite.Tools, balancer: RoundRobin, replicas: Fleet, logs: Path, scenarios: Sequence[str]
) -> list[suite.Score]:
    """Once; in a rollout as often as it takes to replace enough."""
    url = balancer.url + server.PATH
    if not setup.is_rolling:
        return [await suite.run_suite(tools, url, logs / "results-1", scenarios)]
    scores = []
    rolling = asyncio.create_task(replicas.roll(lambda count: say(f"  {count} replaced")))
    try:
        while replicas.replaced < REPLACEMENTS and len(scores) < RUNS_MAX:
            scores.append(await suite.run_suite(tools, url, logs / f"results-{len(scores) + 1}", scenarios))
            if rolling.done():
                break
    finally:
        rolling.cancel()
        with suppress(asyncio.CancelledError):
            await rolling  # raises what ended the rollout, if anything did
    return scores


def _told(outcome: report.Outcome) -> str:
    if outcome.score is None:
        return f"not run: {outcome.why}"
    return f"{outcome.score.passed} passed, {outcome.score.failed} failed"


def command_of(given: argparse.Namespace) -> str:
    """What repeats this run; without the flags that change nothing of it."""
    words = [] if given.setups == ",".join(setups.USUAL) else [f"--setups {given.setups}"]
    words += ["--rollout"] if given.rollout else []
    words += [f"--scenarios {','.join(given.scenarios)}"] if given.scenarios else []
    words += [] if given.extras else ["--no-extras"]
    return "make conformance" + (f' ARGS="{" ".join(words)}"' if words else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--setups", default=",".join(setups.USUAL), help=f"of {', '.join(setups.SETUPS)}")
    add("--rollout", action="store_true", help="also while the replicas are replaced one after the other")
    add("--scenarios", type=lambda text: tuple(text.split(",")), default=(), help="these alone, separated by commas")
    add("--no-extras", dest="extras", action="store_false", help="no shared requestState key, tasks in memory")
    add("--report", type=Path, nargs="?", const=PAGE, help="write the page, by default docs/conformance.md")
    add("--keep", type=Path, help="a new directory for logs and the suite's results; by default they are removed")
    return parser


async def _until_signal(given: argparse.Namespace, chosen: Sequence[Setup], directory: Path) -> list[report.Outcome]:
    """The first SIGINT or SIGTERM ends everything in order; that takes seconds, and more of them change nothing."""
    work = asyncio.ensure_future(conform(given, chosen, directory))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _end, work)
    return await work


def _end(work: asyncio.Future[list[report.Outcome]]) -> None:
    if work.cancelling() == 0:  # type: ignore[attr-defined]
        say("ending what was started ...")
        work.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        chosen = setups.choose(given.setups, rollout=given.rollout)
        with tempfile.TemporaryDirectory(prefix="conf-", dir="/tmp") as temporary:  # short: sockets are in it
            directory = given.keep or Path(temporary)
            directory.mkdir(parents=True, exist_ok=True)
            outcomes = asyncio.run(_until_signal(given, chosen, directory))
            versions = suite.install().versions()
    except RollproofError as error:
        say(f"conformance: {error.message}\nhint: {error.hint}")
        return EXIT_USAGE
    except asyncio.CancelledError:
        return EXIT_INTERRUPTED
    sys.stdout.write(report.terminal(outcomes) + "\n")
    if given.report:
        date = datetime.now(UTC).date().isoformat()
        text = report.page(outcomes, versions, command_of(given), date, given.extras)
        given.report.write_text(text, encoding="utf-8")
        say(f"written: {given.report}")
    return report.exit_code(outcomes)


if __name__ == "__main__":
    sys.exit(main())
