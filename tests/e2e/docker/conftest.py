"""Tests against a real Docker Engine. Where none answers they are deselected, and that is said.

ROLLPROOF_DOCKER=required makes it an error.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docker import engine
from tests.e2e.docker.engine import IMAGE, Network, docker

HERE = Path(__file__).parent
SUBNETS = tuple(f"10.213.{number}.0/24" for number in range(200, 250))

_deselected = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    global _deselected  # noqa: PLW0603 - told in the summary
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(300))
    if not ours or not (error := engine.error()):
        return
    if os.environ.get("ROLLPROOF_DOCKER") == "required":
        raise pytest.UsageError(f"ROLLPROOF_DOCKER=required, but no Docker Engine answers: {error}")
    items[:] = [item for item in items if item not in ours]
    config.hook.pytest_deselected(items=ours)
    _deselected = len(ours)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _deselected:
        terminalreporter.write_line(f"{_deselected} tests of tests/e2e/docker did not run: no Docker Engine answers")


@pytest.fixture(scope="session")
def image() -> str:
    """A public image with Python, pulled if it is not there."""
    if not docker("images", "--quiet", IMAGE):
        docker("pull", "--quiet", IMAGE, timeout=280)
    return IMAGE


@pytest.fixture(scope="session")
def network(image: str) -> Iterator[Network]:
    """With a subnet that nobody else uses."""
    project = f"rollproof-test-{uuid.uuid4().hex[:6]}"
    made = ""
    for subnet in SUBNETS:
        base = subnet.removesuffix(".0/24")
        made = docker(
            "network", "create", "--subnet", subnet, "--ip-range", f"{base}.0/26", "--gateway", f"{base}.1", project,
            check=False,
        )  # fmt: skip
        if made:
            break
    else:
        pytest.fail(f"no free subnet among {SUBNETS[0]} ... {SUBNETS[-1]}")
    yield Network(project, project, f"{base}.1", subnet)
    leftovers = docker("ps", "--all", "--quiet", "--filter", f"network={project}")
    if leftovers:
        docker("rm", "--force", *leftovers.split())
    docker("network", "rm", project)
    assert not leftovers, "a test left containers behind"
