"""A task's application, with modules of its own.

Two tasks share no memory. So the modules of a project are loaded anew for each: what one keeps at its top level
(`mcp = FastMCP("x")`, `sessions = {}`) exists once a task. Installed packages are code, and stay shared.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from rollproof.core.errors import UsageError

App = str | Callable[..., Any]
"""`module:attribute`, or a factory: a callable that makes a new application each time."""

_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_OURS = ("rollproof",)


class Applications:
    """Makes one application a task of `app`. `root` is the project, first on the import path while it is loaded."""

    def __init__(self, app: App, root: Path) -> None:
        self._app, self._root = app, root.absolute()
        self._made: list[Any] = []

    def make(self, environment: Mapping[str, str], **offered: Any) -> Any:
        """A new application: ASGI, a FastMCP server, or a `uvicorn.Server`.

        `os.environ` holds `environment` meanwhile. A factory gets of `offered` what it has parameters for. Raises
        what the project's code raises, and UsageError for what cannot be found, or would be shared by two tasks.
        """
        with _environment(environment), self._on_path():
            made = self._load(self._app, offered) if isinstance(self._app, str) else _call(self._app, offered)
        if any(made is other for other in self._made):
            raise UsageError(
                f"{_name(self._app)} gave the same application to two tasks, which would share its memory",
                hint="make a new one at each call, or name it as module:attribute, which is loaded anew for each task",
            )
        self._made.append(made)
        return made

    def _load(self, name: str, offered: Mapping[str, Any]) -> Any:
        module_name, _, attribute = name.partition(":")
        for loaded in [x for x, module in sys.modules.items() if self._is_of_project(x, module)]:
            del sys.modules[loaded]
        importlib.invalidate_caches()
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name not in (module_name, module_name.partition(".")[0]):
                raise
            raise UsageError(f"no module {module_name} in {self._root}", hint="run it where the module is") from error
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise UsageError(f"{module_name} has no {attribute}", hint="--app module:attribute")
            found = getattr(found, part)
        return _call(found, offered) if is_factory(found) else found

    def _is_of_project(self, name: str, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        if name == "__main__" or name.partition(".")[0] in _OURS or not file:
            return False
        return file.startswith(str(self._root) + os.sep) and not file.startswith(_INSTALLED)

    @contextlib.contextmanager
    def _on_path(self) -> Iterator[None]:
        sys.path.insert(0, str(self._root))
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(str(self._root))


@contextlib.contextmanager
def modules_restored() -> Iterator[None]:
    """What was loaded for tasks inside of the block is forgotten at its end, and what stood there before is back."""
    before = dict(sys.modules)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name not in before]:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file and not file.startswith(_INSTALLED):
                del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def _environment(environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def is_factory(found: Any) -> bool:
    """A callable that needs no arguments but ones that are offered, as opposed to an ASGI application."""
    if hasattr(found, "http_app") or not callable(found):
        return False
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [x for x in parameters if x.default is x.empty and x.kind not in (x.VAR_KEYWORD, x.VAR_POSITIONAL)]
    return all(x.name == "task_id" for x in needed)


def _call(factory: Callable[..., Any], offered: Mapping[str, Any]) -> Any:
    known = inspect.signature(factory).parameters
    return factory(**{name: value for name, value in offered.items() if name in known})


def _name(app: App) -> str:
    return app if isinstance(app, str) else getattr(app, "__qualname__", repr(app))
