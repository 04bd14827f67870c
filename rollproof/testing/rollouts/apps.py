"""The server that a test names: a module's attribute, or a factory. Never an object, which all tasks would share."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.sim.modules import is_factory, is_installed


@dataclass(frozen=True)
class AppChoice:
    """`name` is module:attribute, "" where only `factory` can be called. `root` is the project it is loaded from."""

    name: str
    root: Path
    factory: Callable[..., Any] | None = None


def choose_app(app: object, rootdir: Path, test_module: str) -> AppChoice:
    """Raises UsageError for an object, and for a module that is not there."""
    if isinstance(app, str):
        return AppChoice(app, root_of(app, rootdir))
    if not callable(app) or hasattr(app, "http_app") or not is_factory(app):
        raise _refusal(app, test_module)
    module, name = getattr(app, "__module__", ""), getattr(app, "__qualname__", "")
    if module not in ("", "__main__", test_module) and getattr(sys.modules.get(module), name, None) is app:
        return AppChoice(f"{module}:{name}", root_of(f"{module}:{name}", rootdir))  # loaded anew for each task
    return AppChoice("", rootdir, app)


def root_of(app: str, rootdir: Path) -> Path:
    """The directory whose modules are loaded anew for each task: the project, or wherever the module comes from.

    Raises UsageError where `app` is not module:attribute, its module is not found, or it is installed.
    """
    module, _, attribute = app.partition(":")
    if not (module and attribute and all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))):
        raise UsageError(f"app {app!r} is not module:attribute", hint='e.g. rollout("my_server:mcp")')
    place = _place_of(module.partition(".")[0], rootdir)
    if place is None:
        raise UsageError(
            f"app {app!r}: there is no module {module.partition('.')[0]!r} in {rootdir}, nor on the import path",
            hint='run pytest where it is, or name its directory in the pytest setting `pythonpath`, e.g. "src"',
        )
    if is_installed(f"{place}{os.sep}"):
        raise UsageError(
            f"app {app!r} is installed in {place}: its modules are not loaded anew, and tasks would share their memory",
            hint="install the project in place (pip install -e .), or pass a function that makes a new application",
        )
    return rootdir if place == rootdir or rootdir in place.parents else place


def _place_of(package: str, rootdir: Path) -> Path | None:
    """The directory that holds a top-level module or package, found without importing it."""
    sys.path.insert(0, str(rootdir))
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    finally:
        sys.path.remove(str(rootdir))
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(spec.origin).parent if spec.origin and spec.has_location else None


def _refusal(app: object, test_module: str) -> UsageError:
    what = f"rollout() was given a {type(app).__name__} object"
    if not callable(app) and not hasattr(app, "http_app"):
        return UsageError(f"{what}, which is no application", hint='name it: rollout("my_server:mcp")')
    names = list(_names_of(app))
    elsewhere = [name for name in names if not name.startswith(f"{test_module}:")]
    if elsewhere:
        hint = f'write rollout("{elsewhere[0]}"): it is loaded anew for each task'
    elif names:
        hint = f'move {names[0].partition(":")[2]} into a module of its own, and name it: rollout("my_server:mcp")'
    else:
        hint = 'name it, rollout("my_server:mcp"), or pass the function that makes it'
    return UsageError(f"{what}: all tasks would share its memory, so no session could be lost", hint=hint)


def _names_of(app: object) -> Iterator[str]:
    """Under which names of loaded modules it goes: of where it was made first."""
    found = []
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and _is_somebodys(module):
            found += [f"{name}:{key}" for key, value in list(vars(module).items()) if value is app and key[:1] != "_"]
    yield from found


def _is_somebodys(module: ModuleType) -> bool:
    file = inspect.getattr_static(module, "__file__", None)
    return isinstance(file, str) and not is_installed(file)
