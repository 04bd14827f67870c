"""The server that a test names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.errors import UsageError
from rollproof.testing.rollouts.apps import choose_app

SERVER = """
class App:
    async def __call__(self, scope, receive, send): ...
app = App()
def create_app(): return App()
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of a project, loaded as a test would load it."""
    (tmp_path / "shop_server.py").write_text(SERVER)
    monkeypatch.syspath_prepend(tmp_path)
    import shop_server  # type: ignore[import-not-found]

    yield shop_server
    del sys.modules["shop_server"]


def test_a_name_is_loaded_from_the_project(server: Any, tmp_path: Path) -> None:
    choice = choose_app("shop_server:app", tmp_path, "test_shop")
    assert (choice.name, choice.root, choice.factory) == ("shop_server:app", tmp_path, None)


def test_a_module_from_elsewhere_brings_its_own_root(server: Any, tmp_path: Path) -> None:
    assert choose_app("shop_server:app", tmp_path / "other", "test_shop").root == tmp_path


def test_an_object_is_refused_with_its_name(server: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was given a App object: all tasks would share its memory") as refused:
        choose_app(server.app, tmp_path, "test_shop")
    assert refused.value.hint == 'write rollout("shop_server:app"): it is loaded anew for each task'


def test_an_object_of_the_test_itself_has_to_move(server: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        choose_app(server.app, tmp_path, "shop_server")
    assert refused.value.hint == 'move app into a module of its own, and name it: rollout("my_server:mcp")'
    with pytest.raises(UsageError, match="which is no application"):
        choose_app(7, tmp_path, "test_shop")


def test_a_factory_goes_by_its_name_where_it_has_one(server: Any, tmp_path: Path) -> None:
    """By name its module is loaded anew for each task; a function of the test can only be called."""
    assert choose_app(server.create_app, tmp_path, "test_shop").name == "shop_server:create_app"

    def inside_of_a_test() -> Any:
        return server.App()

    inner = choose_app(inside_of_a_test, tmp_path, "test_shop")
    assert (inner.name, inner.factory is None) == ("", False)
    assert choose_app(server.create_app, tmp_path, "shop_server").name == ""


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("shop_server", "is not module:attribute"),
        ("no_such_server:app", "there is no module 'no_such_server' in"),
        ("json:dumps", "is installed in"),
    ],
)
def test_a_name_that_cannot_be_used(app: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        choose_app(app, tmp_path, "test_shop")
