"""The plugin in a pytest run of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from _pytest import pytester as pytesters

pytest_plugins = ["pytester"]
PLUGIN = ("-W", "ignore:Module already imported", "-p", "rollproof.testing.plugin")  # in the outer run, that is
EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = 'deregistration_delay_s=10, sessions=2, write="set_note", read="get_notes"'


class KeepsPackages(pytesters.SysModulesSnapshot):
    """What an inner run has imported stays, but for its own files: half a package loaded anew fits no other half."""

    def __init__(self, preserve: object = None) -> None:
        super().__init__(preserve=lambda name: not name.startswith(("test_it", "notes_server")))


@pytest.fixture
def packages_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `pytester`, which looks at sys.modules at its start."""
    monkeypatch.setattr(pytesters, "SysModulesSnapshot", KeepsPackages)


@pytest.fixture
def project(packages_kept: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory with the ten-line server; its pytest has this plugin alone, installed or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    (pytester.path / "notes_server.py").write_text((EXAMPLES / "01-in-memory-server" / "my_server.py").read_text())
    return pytester


def test_a_lost_session_fails_with_the_story_and_leaves_its_run(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_it=f"""
        def test_lost(rollout):
            result = rollout("notes_server:mcp", {SHORT})
            assert result.sessions_lost == 0

        def test_known(rollout):
            assert rollout("notes_server:mcp", {SHORT}).sessions_lost == 2
        """
    )
    done = project.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(failed=1, passed=1)
    done.stdout.fnmatch_lines(
        [
            "E * assert 2 sessions lost == 0",
            "E * 2 of 2 sessions lost; first s*: target 10.0.0.*:8000 (task *) began draining at *",
            "*- rollout: 0 survived, 0 degraded, 2 lost -*",
            "What broke first *",
            "* target 10.0.0.*:8000 (task *) draining, Target.DeregistrationInProgress",
            "* s? call * set_note answered on task *",
            ">* s? call * get_notes FAILED: 404/-32600 Session not found",
            "* succeeded on task *; get_notes, asked *, failed on task *",
            "  pytest test_it.py::test_lost --rollproof-seed 1",
            "    def test_rollout(rollout):",
            "The whole report: rollproof report *",
        ]
    )
    run = Path(done.stdout.str().split("rollproof report ")[1].split()[0])
    assert (run / "history.jsonl").exists()
    assert [path.name for path in run.parent.parent.glob("rollout*") if path.is_dir() and not path.is_symlink()] == [
        run.parent.name
    ]


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        (
            '"notes_server:mcp", desired_cuont=2',
            ["rollproof: rollout() has no argument 'desired_cuont'*", "hint: did*"],
        ),
        ('"notes_server:mcp", desired_count=-1', ["rollproof: *desired_count*"]),
        ('"no_such:mcp"', ["rollproof: app 'no_such:mcp': there is no module 'no_such' in *", "hint: run pytest *"]),
        ("notes_server.mcp", ["*all tasks would share its memory*", 'hint: write rollout("notes_server:mcp")*']),
        ('"notes_server:mcp", redis="redis://x"', ["*has a Redis of its own*", "hint: redis=True*"]),
        ('"notes_server:mcp", faults=["flood at steady"]', ["rollproof: *flood*", "hint: *"]),
        ("", ["rollproof: rollout() names no server"]),
    ],
)
def test_a_mistake_is_one_sentence_and_no_traceback(project: pytest.Pytester, call: str, lines: list[str]) -> None:
    project.makepyfile(test_it=f"import notes_server\ndef test_it(rollout):\n    rollout({call})")
    done = project.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(lines)
    done.stdout.no_fnmatch_line("*Error*")
    assert len(done.outlines) < 20


def test_a_coroutine_is_told_to_be_a_function(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_it="""
        import asyncio
        def test_it(rollout):
            async def inside():
                rollout("notes_server:mcp")
            asyncio.run(inside())
        """
    )
    done = project.runpytest_inprocess(*PLUGIN)
    done.stdout.fnmatch_lines(["rollproof: rollout() was called inside of an event loop*", "hint: write `def test_*"])


def test_the_command_line_wins_over_the_call_over_markers_over_the_ini_file(project: pytest.Pytester) -> None:
    project.makeini(
        """
        [pytest]
        rollproof_app = notes_server:mcp
        rollproof_seed = 3
        rollproof_stage = docker
        rollproof_set =
            desired_count = 5
            slow_start_s = 30
        """
    )
    project.makepyfile(
        test_it="""
        import pytest
        pytestmark = pytest.mark.rollproof(desired_count=4, sessions=3)

        @pytest.mark.rollproof(sessions=2)
        def test_it(rollout):
            given = rollout._with_defaults({"slow_start_s": 0, "stage": "local"})
            assert given == {
                "app": "notes_server:mcp", "desired_count": 4, "sessions": 2, "slow_start_s": 0,
                "seed": 9, "stage": "sim",
            }
        """
    )
    done = project.runpytest_inprocess(*PLUGIN, "--rollproof-seed", "9", "--rollproof-stage", "sim", "--strict-markers")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["rollproof: stage sim, seed 9"])


def test_without_the_plugin_there_is_no_fixture(project: pytest.Pytester) -> None:
    project.makepyfile(test_it="def test_it(rollout): ...")
    done = project.runpytest_inprocess("-p", "no:rollproof")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*fixture 'rollout' not found"])


def test_a_suite_that_does_not_use_it_pays_nothing() -> None:
    """What its import brings besides pytest itself."""
    said = subprocess.run(
        [sys.executable, "-c", "import pytest, sys; before = set(sys.modules); import rollproof.testing.plugin;"
         " print(*sorted(set(sys.modules) - before))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == ["rollproof", "rollproof.testing", "rollproof.testing.plugin"]


@pytest.mark.e2e
def test_beside_asyncio_tests_and_over_several_workers(project: pytest.Pytester) -> None:
    """Its own event loop disturbs nobody's: async tests and fixtures before and after it, in auto mode."""
    project.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    project.makepyfile(
        test_it=f"""
        import asyncio, pytest, pytest_asyncio

        @pytest_asyncio.fixture(scope="module", loop_scope="module")
        async def kept():
            yield asyncio.get_running_loop()

        @pytest.mark.asyncio(loop_scope="module")
        async def test_before(kept):
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is kept

        @pytest.mark.parametrize("number", [1, 2])
        def test_lost(rollout, number):
            assert rollout("notes_server:mcp", {SHORT}).sessions_lost == 0

        @pytest.mark.asyncio(loop_scope="module")
        async def test_after(kept):
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is kept

        async def test_another():
            await asyncio.sleep(0)
        """
    )
    for workers in ([], ["-p", "xdist.plugin", "-n", "2"]):
        done = project.runpytest_subprocess(*PLUGIN, "-p", "pytest_asyncio.plugin", *workers)
        done.assert_outcomes(failed=2, passed=3)
        assert done.stdout.str().count("- rollout: 0 survived, 0 degraded, 2 lost -") == 2
        assert done.stdout.str().count("What broke first") == 2
