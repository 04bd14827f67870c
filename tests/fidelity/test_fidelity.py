"""docs/fidelity.md is what catalogue and markers say, they agree, and what pytest collects is what was read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fidelity.catalogue import Behaviour, Catalogue, Section, read_catalogue
from tests.fidelity.complaints import complaints, source_keys
from tests.fidelity.markers import ROOT, Marker, find_markers, read_markers
from tests.fidelity.page import PAGE, render


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue()


@pytest.fixture(scope="module")
def markers() -> tuple[Marker, ...]:
    return find_markers()


def test_catalogue_and_markers_agree(catalogue: Catalogue, markers: tuple[Marker, ...]) -> None:
    assert complaints(catalogue, markers) == []


def test_the_page_is_not_stale(catalogue: Catalogue, markers: tuple[Marker, ...]) -> None:
    assert PAGE.read_text() == render(catalogue, markers), "make fidelity writes it anew"


def test_what_pytest_collects_was_read(request: pytest.FixtureRequest, markers: tuple[Marker, ...]) -> None:
    """Of the tests of this session: their markers and those found in the sources are the same."""
    read = {(marker.path, marker.name, each) for marker in markers for each in marker.ids}
    collected = {key for item in request.session.items for key in _collected(item)}
    assert collected - read == set()


def _collected(item: pytest.Item) -> Iterator[tuple[str, str, str]]:
    function = getattr(item, "function", None)
    for marker in item.iter_markers("fidelity"):
        path = Path(function.__code__.co_filename).relative_to(ROOT).as_posix()  # type: ignore[union-attr]
        yield from ((path, function.__name__, each) for each in marker.args)  # type: ignore[union-attr]


# --- what is complained of --------------------------------------------------------------------------------------

DRAIN = Behaviour("ALB-DRAIN-1", "It drains.", "ALB-UG/page; O1-O2", "doc")
BLUE = Behaviour("ECS-DEPLOY-1", "Blue.", "API-ECS Shape", "doc", why="Only rolling.")
GOOD = Catalogue(
    (Section("One", "rollout", (DRAIN,)), Section("Two", "rest", (BLUE,))),
    {"ALB-UG": "guide", "O1": "log", "O2": "log", "API-ECS": "model"},
    {"rollout": 90},
)
SHOWN = Marker("tests/test_x.py", 7, "", "test_it_drains", ("ALB-DRAIN-1",), "ALB-UG/page; O1-O2", "doc")


def with_first(**changes: str) -> Catalogue:
    return replace(
        GOOD, sections=(replace(GOOD.sections[0], behaviours=(replace(DRAIN, **changes),)), GOOD.sections[1])
    )


def test_nothing_is_said_of_what_agrees() -> None:
    assert complaints(GOOD, [SHOWN]) == []
    assert complaints(GOOD, [replace(SHOWN, source="", mark="")]) == []


@pytest.mark.parametrize(
    ("catalogue", "marker", "complaint"),
    [
        (GOOD, replace(SHOWN, ids=("ALB-DRAIN-7",)), "tests/test_x.py:7: ALB-DRAIN-7 is in no file"),
        (GOOD, replace(SHOWN, mark="inferred"), "ALB-DRAIN-1 has mark 'inferred' here and 'doc' in the catalogue"),
        (GOOD, replace(SHOWN, source="O1"), "has source 'O1' here and 'ALB-UG/page; O1-O2' in the catalogue"),
        (GOOD, replace(SHOWN, ids=("ECS-DEPLOY-1",), source="", mark=""), "which the catalogue calls not modelled"),
        (GOOD, None, "ALB-DRAIN-1: neither a test names it nor says `why`"),
        (with_first(why="Not yet."), None, "part rollout: 0 of 1 behaviours have a test, less than 90 %"),
        (with_first(mark="guess"), replace(SHOWN, mark=""), "its mark is 'guess'"),
        (with_first(source="O3"), replace(SHOWN, source=""), "'O3' is no key of sources.yaml"),
        (with_first(id="drain"), None, "drain: not of the form"),
        (with_first(id="ECS-DEPLOY-1"), None, "ECS-DEPLOY-1: 2 behaviours of that id"),
        (with_first(why="Not yet.", lacks="All."), None, "what is not modelled lacks nothing"),
    ],
)
def test_what_does_not_agree_is_named(catalogue: Catalogue, marker: Marker | None, complaint: str) -> None:
    found = complaints(catalogue, [marker] if marker else [])
    assert any(complaint in each for each in found), found


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("ALB-UG/sticky-sessions; O1-O3", ["ALB-UG", "O1", "O2", "O3"]),
        ("LBC#2366; CR#708", ["LBC", "CR"]),
        ("API-ECS Deployment; WN-2023-02-13", ["API-ECS", "WN"]),
        ("ECS-DG-now/page", ["ECS-DG-now"]),
    ],
)
def test_keys_of_a_source(source: str, keys: list[str]) -> None:
    assert list(source_keys(source)) == keys


@pytest.mark.parametrize(
    "marked",
    [
        "@pytest.mark.fidelity('A-1')\nclass TestX: ...",
        "@pytest.mark.fidelity('A-1')\ndef helper(): ...",
        "pytestmark = pytest.mark.fidelity('A-1')",
        "@pytest.mark.fidelity(ID)\ndef test_x(): ...",
        "@pytest.mark.fidelity()\ndef test_x(): ...",
        "@pytest.mark.fidelity('A-1', by='me')\ndef test_x(): ...",
        "@pytest.mark.fidelity('A-1', 'A-2', mark='doc')\ndef test_x(): ...",
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.fidelity('A-1'))])\ndef test_x(x): ...",
    ],
    ids=["class", "helper", "module", "name", "nothing", "keyword", "mark_of_two", "parameter"],
)
def test_a_marker_that_would_be_overlooked_is_refused(marked: str) -> None:
    with pytest.raises(ValueError, match=r"tests/test_x\.py:\d+: "):
        read_markers(ast.parse(marked), "tests/test_x.py")


def test_a_contract_that_nobody_keeps_shows_nothing(tmp_path: Path) -> None:
    contract = "class Contract:\n    @pytest.mark.fidelity('A-1')\n    def test_x(self): ...\n"
    (tmp_path / "rollproof" / "testing").mkdir(parents=True)
    (tmp_path / "rollproof" / "testing" / "contract.py").write_text(contract)
    with pytest.raises(ValueError, match="nothing runs it"):
        find_markers(tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text("class TestX(x.Contract): ...\n")
    [marker] = find_markers(tmp_path)
    assert (marker.path, marker.owner, marker.ids) == ("rollproof/testing/contract.py", "Contract", ("A-1",))


def test_a_malformed_entry_is_named(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text("sources: {}\nleast_percent: {}\n")
    for entry in ("{id: A-1, says: x, source: y}", "{id: A-1, says: x, source: y, mark: doc, sure: 1}"):
        (tmp_path / "one.yaml").write_text(f"title: One\npart: rest\nbehaviours:\n- {entry}\n")
        with pytest.raises(ValueError, match=r"one\.yaml: .*A-1"):
            read_catalogue(tmp_path)
