"""docs/strategies.md: the page that the stored matrices make, and no other."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rollproof.core.errors import UsageError
from rollproof.matrix import Asked
from rollproof.matrix.model import read_matrix, write_matrix
from rollproof.matrix.page import LOCAL, NOT_PLAYED, PAGE, TEMPLATE, page, page_of, write_page
from rollproof.strategies import STRATEGIES
from tests.matrix.samples import as_expected, cell, lost, matrix

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_the_one_that_the_stored_matrices_make() -> None:
    """Stale? `python -m rollproof.matrix.page docs/matrix`; `make matrix` plays them anew."""
    assert (DOCS / PAGE).read_text(encoding="utf-8") == page_of(DOCS / "matrix")


def test_the_stored_matrix_has_every_strategy_as_it_is_now() -> None:
    rows = {row.name: (row.summary, row.expected, row.uses_redis) for row in read_matrix(DOCS / "matrix" / LOCAL).rows}
    assert rows == {x.name: (x.summary, x.expected, x.uses_redis) for x in STRATEGIES.values()}


def test_every_part_of_the_template_is_filled() -> None:
    made = page(as_expected(), as_expected())
    assert not re.search(r"\{\{|\}\}", made)
    assert "| `memory` | lost 2/3 | not applicable |" in made
    assert "| `stateless` | 140 | 4.0 | 6.7 | 2.5 | 3.1 | - |" in made
    for name in STRATEGIES:
        assert f"\n| `{name}` | " in made


def test_the_prose_stays_whatever_was_played() -> None:
    prose = [part for part in re.split(r"\{\{\w+\}\}", TEMPLATE.read_text(encoding="utf-8")) if part.strip()]
    for made in (page(as_expected()), page(matrix(cell("memory"), lost("stateless")), as_expected())):
        assert all(part in made for part in prose)


def test_without_a_docker_matrix_the_page_says_so() -> None:
    assert NOT_PLAYED in page(as_expected())
    docker = replace(as_expected(), asked=Asked("docker", balancer="nginx"))
    made = page(as_expected(), docker)
    assert NOT_PLAYED not in made
    assert "docker behind nginx" in made
    assert "[docker](matrix/docker.json)" in made


def test_a_surprise_is_on_the_page_with_its_reason() -> None:
    made = page(matrix(lost("memory"), lost("stateless")))
    assert "- `stateless`: lost 2/3, expected survived. 2 of 3 lost." in made
    assert "Not as expected" not in page(as_expected())


def test_a_part_that_there_is_not_is_told() -> None:
    with pytest.raises(UsageError, match="asks for weather"):
        page(as_expected(), template="{{local_table}} {{weather}}")


def test_it_is_written_beside_its_matrices(tmp_path: Path) -> None:
    write_matrix(as_expected(), tmp_path / "matrix" / LOCAL)
    assert write_page(tmp_path / "matrix") == tmp_path / PAGE
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == page_of(tmp_path / "matrix")
