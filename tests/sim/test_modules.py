"""Each task has its application's modules for itself; what would be shared is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rollproof.core.errors import UsageError
from rollproof.sim.modules import Applications, modules_restored

MODULE = """
import os
from helper import REGISTRY

class App:
    def __init__(self):
        self.sessions = REGISTRY
        self.greeting = os.environ.get("GREETING", "")
    async def __call__(self, scope, receive, send): ...

app = App()
def make(): return App()
def make_with_id(task_id=""):
    made = App()
    made.task_id = task_id
    return made
def shared(): return app
def wants(argument): ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "their_server.py").write_text(MODULE)
    (tmp_path / "helper.py").write_text("REGISTRY = {}\n")
    return tmp_path


@pytest.mark.parametrize("name", ["their_server:app", "their_server:make"])
def test_two_tasks_share_no_memory_not_even_that_of_imported_modules(name: str, project: Path) -> None:
    with modules_restored():
        applications = Applications(name, project)
        one, other = applications.make({}), applications.make({})
    one.sessions["s1"] = "state"
    assert other.sessions == {}


def test_the_environment_is_the_tasks_while_it_is_made(project: Path) -> None:
    with modules_restored():
        made = Applications("their_server:app", project).make({"GREETING": "hello"})
    assert made.greeting == "hello"
    assert "GREETING" not in os.environ


def test_a_factory_that_asks_for_it_is_told_the_tasks_id(project: Path) -> None:
    with modules_restored():
        made = Applications("their_server:make_with_id", project).make({}, task_id="abc")
    assert made.task_id == "abc"


def test_a_callable_is_called_for_each_task(project: Path) -> None:
    made: list[object] = []

    def factory() -> object:
        made.append(object())
        return made[-1]

    applications = Applications(factory, project)
    assert applications.make({}) is not applications.make({})


def test_a_factory_that_gives_the_same_application_again_is_refused_with_the_way_out(project: Path) -> None:
    same = object()
    applications = Applications(lambda: same, project)
    applications.make({})
    with pytest.raises(UsageError, match="share its memory") as refused:
        applications.make({})
    assert "module:attribute" in refused.value.hint


@pytest.mark.parametrize(
    ("name", "said"),
    [("no_such_module:app", "no module no_such_module"), ("their_server:nothing", "their_server has no nothing")],
)
def test_what_is_not_there_is_named(name: str, said: str, project: Path) -> None:
    with modules_restored(), pytest.raises(UsageError, match=said):
        Applications(name, project).make({})


def test_an_error_of_the_module_itself_is_its_own(project: Path) -> None:
    (project / "broken.py").write_text("import helper_that_is_missing\n")
    with modules_restored(), pytest.raises(ModuleNotFoundError, match="helper_that_is_missing"):
        Applications("broken:app", project).make({})


def test_afterwards_the_modules_are_as_they_were(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project))
    import helper  # type: ignore[import-not-found]

    before_path = list(sys.path)
    with modules_restored():
        Applications("their_server:app", project).make({})
        assert sys.modules["helper"] is not helper
    assert sys.modules["helper"] is helper
    assert "their_server" not in sys.modules
    assert sys.path == before_path
    del sys.modules["helper"]
