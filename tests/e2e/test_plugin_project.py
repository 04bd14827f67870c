"""A project that has rollproof installed and nothing else of it: ten lines of server, four lines of test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
WITHIN_S = 3.0
"""A quiet machine takes 2.4 s for the one that fails, 2.9 s for the one that passes."""
SLACK = 4.0
"""CI machines are slower, and shared."""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Project:
    python: Path
    directory: Path

    def pytest(self, *arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
        """How it ended, and the seconds it took in all."""
        hidden = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "CI"}
        hidden |= {"REDIS_URL", "FORCE_COLOR"}
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        begun = time.monotonic()
        done = subprocess.run(
            [str(self.python), "-m", "pytest", *arguments],
            cwd=self.directory, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done, time.monotonic() - begun


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel of this checkout, and its dependencies from the one that runs this: no network."""
    place = tmp_path_factory.mktemp("installed")
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        wheel = place / build_wheel(str(place))
    finally:
        os.chdir(before)
    venv.create(place / "venv", with_pip=False)
    python = place / "venv" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(place / "venv"), "platbase": str(place / "venv")}))
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, "--disable-pip-version-check", str(wheel)], check=True)
    # No .pth: those of this environment are not followed from there, so that its own rollproof stays out of the way.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture
def project(python: Path, tmp_path: Path) -> Project:
    return Project(python, tmp_path)


def copied(project: Project, example: str) -> None:
    for name in ("my_server.py", "test_rollout.py"):
        shutil.copy(EXAMPLES / example / name, project.directory)


def test_the_installed_package_is_the_one_that_is_tried(project: Project) -> None:
    done = subprocess.run(
        [str(project.python), "-c", "import rollproof; print(rollproof.__file__)"],
        cwd=project.directory, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(str(project.python.parents[1]))


def test_ten_lines_of_server_and_four_of_test_fail_with_the_story(project: Project) -> None:
    copied(project, "01-in-memory-server")
    project.pytest()  # pytest compiles what it imports at its first run
    done, took_s = project.pytest()
    assert done.returncode == 1, done.stdout + done.stderr
    for words in (
        "assert 4 sessions lost == 0",
        "draining, Target.DeregistrationInProgress",
        "set_note answered on task ",
        "get_notes FAILED: 404/-32600 Session not found",
        "The atomic failure: a write that succeeded, then its read that did not",
        "pytest test_rollout.py::test_sessions_survive_a_deployment --rollproof-seed 1",
        "def test_rollout(rollout):",
    ):
        assert words in done.stdout, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert took_s < WITHIN_S * SLACK


def test_with_the_fix_the_same_test_passes(project: Project) -> None:
    copied(project, "02-sessions-in-redis")
    arguments = ("-k", "test_sessions_survive_a_deployment")
    project.pytest(*arguments)
    done, took_s = project.pytest(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert took_s < WITHIN_S * SLACK


def test_the_pasted_test_tells_the_same_story(project: Project) -> None:
    copied(project, "01-in-memory-server")
    done, _ = project.pytest()
    story = done.stdout.partition("or as a test of its own:\n")[2].partition("\n\nThe whole report")[0]
    (project.directory / "test_rollout.py").write_text(
        "\n".join(line.removeprefix("    ") for line in story.splitlines()) + "\n"
    )
    again, _ = project.pytest()
    (moment,) = [line for line in done.stdout.splitlines() if line.startswith(">") and "FAILED:" in line]
    assert moment in again.stdout.replace("E  ", "").replace("     >", ">")
    assert "AssertionError: FAIL  0 survived, 0 degraded, 4 lost" in again.stdout


def test_without_the_plugin_there_is_no_option(project: Project) -> None:
    (project.directory / "test_it.py").write_text("def test_it(): ...\n")
    done, _ = project.pytest("-p", "no:rollproof", "--rollproof-seed", "1")
    assert done.returncode == 4
    assert "unrecognized arguments: --rollproof-seed" in done.stderr
    assert project.pytest("-p", "no:rollproof")[0].returncode == 0


@pytest.mark.parametrize(
    ("example", "passed", "failed"),
    [("01-in-memory-server", 0, 1), ("02-sessions-in-redis", 2, 0), ("03-a-fault", 6, 0), ("04-template-knobs", 6, 0)],
)
def test_examples_show_what_they_say(project: Project, example: str, passed: int, failed: int) -> None:
    """The first one is to fail: that is what it shows."""
    shutil.copytree(EXAMPLES / example, project.directory, dirs_exist_ok=True)
    done, _ = project.pytest("-q")
    assert done.returncode == (1 if failed else 0), done.stdout + done.stderr
    counts = [f"{failed} failed"] * bool(failed) + [f"{passed} passed"] * bool(passed)
    assert done.stdout.splitlines()[-1].startswith(", ".join(counts) + " in "), done.stdout
