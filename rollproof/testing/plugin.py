"""The pytest plugin: the fixture `rollout`, and failures that say which call of which session broke first.

    def test_sessions_survive_a_deployment(rollout):
        result = rollout("my_server:mcp", desired_count=2, deregistration_delay_s=300)
        assert result.sessions_lost == 0

Every pytest run of every project that has rollproof installed imports this file, so it imports nothing: what a rollout
needs comes with the first rollout. docs/testing.md is its manual.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rollproof.testing.rollouts.call import Rollout
    from rollproof.testing.rollouts.result import RolloutResult

STAGES = ("sim", "local", "docker")
RESULTS: pytest.StashKey[list[RolloutResult]] = pytest.StashKey()
"""What the rollouts of a test came to."""
HAS_FAILED = pytest.StashKey[bool]()

_INI = {
    "rollproof_stage": ("string", "where rollouts are played: sim (default), local or docker"),
    "rollproof_seed": ("string", "of everything drawn by chance (default: 1)"),
    "rollproof_app": ("string", "the server, as module:attribute, where a test names none"),
    "rollproof_image": ("string", "the server's image, for the docker stage"),
    "rollproof_templates": ("linelist", "CloudFormation templates that deploy it; paths from the rootdir"),
    "rollproof_parameters": ("linelist", "parameters of the templates, NAME=VALUE"),
    "rollproof_set": ("linelist", "knobs, KNOB=VALUE, as with `rollproof rehearse --set`"),
    "rollproof_runs": ("string", "keep every run below this directory"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rollproof", "rollouts that are rehearsed in a test (rollproof)")
    group.addoption("--rollproof-stage", choices=STAGES, help="Where all rollouts are played, whatever tests say.")
    group.addoption("--rollproof-seed", type=int, metavar="N", help="The seed of all rollouts, whatever tests say.")
    group.addoption("--rollproof-runs", metavar="DIR", help="Keep every run below DIR, not only those of failures.")
    for name, (kind, text) in _INI.items():
        parser.addini(name, f"rollproof: {text}", type=kind, default=[] if kind == "linelist" else "")  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "rollproof(**arguments): arguments of every rollout of this test, where the call does not give them"
    )


@pytest.fixture
def rollout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollout]:
    """Rehearse a rollout of your server: `rollout("my_server:mcp", desired_count=2, ...)`. See docs/testing.md."""
    from rollproof.testing.rollouts.call import Rollout  # noqa: PLC0415 - the first rollout pays for the imports
    from rollproof.testing.rollouts.directories import runs_directory  # noqa: PLC0415

    item = request.node
    results = item.stash.setdefault(RESULTS, [])
    with runs_directory(request.config, tmp_path_factory, lambda: bool(item.stash.get(HAS_FAILED, True))) as runs:
        yield Rollout(request, runs, results)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed tells its rollouts below its traceback."""
    report = yield
    results = item.stash.get(RESULTS, None)
    if results is None or report.when == "teardown":
        return report
    if report.when == "call":
        item.stash[HAS_FAILED] = report.failed
    if report.failed:
        from rollproof.testing.rollouts.story import add_stories  # noqa: PLC0415

        add_stories(report, results)
    return report


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """`assert result.sessions_lost == 0`, in words."""
    if not hasattr(left, "rollout") and not hasattr(right, "rollout"):
        return None
    from rollproof.testing.rollouts.story import compared  # noqa: PLC0415

    return compared(op, left, right)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Only where something was asked for on the command line."""
    given: dict[str, Any] = {name: config.getoption(f"rollproof_{name}") for name in ("stage", "seed", "runs")}
    told = ", ".join(f"{name} {value}" for name, value in given.items() if value is not None)
    return f"rollproof: {told}" if told else None
