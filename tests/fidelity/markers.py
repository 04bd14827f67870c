"""Which test shows which behaviour, read from the sources: in a tenth of the time that collecting them takes.

Found are decorators of test functions, of methods of Test classes, and of methods of the contracts that Test classes
inherit (rollproof/testing). A marker anywhere else, or one that is not written out, would be overlooked: it is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FILES = ("tests/**/test_*.py", "rollproof/testing/*.py")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Marker:
    """`ids` shown by the test `name` of `path`; `source` and `mark` only where they are written beside the id."""

    path: str
    line: int
    owner: str  # class, if any
    name: str
    ids: tuple[str, ...]
    source: str = ""
    mark: str = ""

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


def find_markers(root: Path = ROOT) -> tuple[Marker, ...]:
    """By path and line. Raises ValueError for a marker that no test of a run would carry."""
    markers, bases, files = [], dict[str, list[str]](), sorted({x for each in _FILES for x in root.glob(each)})
    for path in files:
        text = path.read_text()
        if "class " not in text and "mark.fidelity" not in text:
            continue
        tree, where = ast.parse(text), path.relative_to(root).as_posix()
        bases |= {x.name: [_last(base) for base in x.bases] for x in ast.walk(tree) if isinstance(x, ast.ClassDef)}
        if "mark.fidelity" in text:
            markers += read_markers(tree, where)
    run = _run_classes(bases)
    for marker in markers:
        if marker.owner and marker.owner not in run:
            raise ValueError(f"{marker.where}: {marker.owner} is no Test class, and none inherits it: nothing runs it")
    return tuple(markers)


def read_markers(tree: ast.Module, path: str) -> list[Marker]:
    """The markers of one file. Raises ValueError for one that is not on a test or not written out."""
    found, seen = [], set[ast.Call]()
    for owner, function in _tests(tree):
        for call in filter(_is_marker, function.decorator_list):
            assert isinstance(call, ast.Call)
            seen.add(call)
            found.append(_marker(call, path, owner, function.name))
    strays = [x for x in ast.walk(tree) if _is_marker(x) and x not in seen]
    if strays:
        raise ValueError(f"{path}:{strays[0].lineno}: a fidelity marker belongs on a test function")  # type: ignore[attr-defined]
    return sorted(found, key=lambda x: x.line)


def _tests(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    owners: Iterable[tuple[str, list[ast.stmt]]] = [
        ("", tree.body), *((x.name, x.body) for x in tree.body if isinstance(x, ast.ClassDef))
    ]  # fmt: skip
    for owner, body in owners:
        for each in body:
            if isinstance(each, Function) and each.name.startswith("test_"):
                yield owner, each


def _is_marker(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fidelity"


def _marker(call: ast.Call, path: str, owner: str, name: str) -> Marker:
    where = f"{path}:{call.lineno}"
    keywords = {x.arg: x.value for x in call.keywords}
    texts = [
        x.value for x in [*call.args, *keywords.values()] if isinstance(x, ast.Constant) and isinstance(x.value, str)
    ]
    ids = tuple(texts[: len(call.args)])
    if not ids or len(texts) != len(call.args) + len(keywords) or not keywords.keys() <= {"source", "mark"}:
        raise ValueError(f"{where}: write fidelity(id, source=..., mark=...), or ids alone, as text")
    if keywords and len(ids) > 1:
        raise ValueError(f"{where}: a source and a mark are those of one id")
    beside = dict(zip(keywords, texts[len(call.args) :], strict=True))
    return Marker(path, call.lineno, owner, name, ids, beside.get("source", ""), beside.get("mark", ""))


def _last(base: ast.expr) -> str:
    return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")


def _run_classes(bases: dict[str, list[str]]) -> set[str]:
    """Test classes, and what they inherit."""
    run, new = set[str](), {name for name in bases if name.startswith("Test")}
    while new:
        run |= new
        new = {base for name in new for base in bases.get(name, [])} - run
    return run
