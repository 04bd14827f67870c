"""The page: a table a section, and how much of each is shown by a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.fidelity.catalogue import Behaviour, Catalogue, Section
from tests.fidelity.complaints import coverage, tests_by_id
from tests.fidelity.markers import ROOT, Marker

PAGE = ROOT / "docs" / "fidelity.md"

_HEAD = """\
# Fidelity: what ECS and ALB do, and which test shows that rollproof does it too

A rehearsal proves nothing where it behaves otherwise than AWS. Here is every behaviour known to matter for a rollout
and its sessions: where it is known from, how sure that is (*doc*: AWS documents it; *observed*: logs and experiments
of others; *inferred*: our reading of these), and the tests that fail if rollproof does otherwise. What is not modelled
says why.

Made by `make fidelity` from `tests/fidelity/catalogue` and the tests' `fidelity` markers; a test fails when it is stale
([CONTRIBUTING.md](../CONTRIBUTING.md) says how to add one).
"""


def render(catalogue: Catalogue, markers: Iterable[Marker]) -> str:
    """The whole page as Markdown."""
    tests = tests_by_id(markers)
    parts = [_HEAD, _summary(catalogue, tests), *(_section(section, tests) for section in catalogue.sections)]
    return "\n".join([*parts, _sources(catalogue)])


def _summary(catalogue: Catalogue, tests: Mapping[str, tuple[Marker, ...]]) -> str:
    rows = []
    for section in catalogue.sections:
        shown, count = coverage([section], tests)
        partly = sum(bool(x.lacks) for x in section.behaviours)
        rows.append(
            f"| [{section.title}](#{_anchor(section.title)}) | {count} | {shown} | {partly} | {count - shown} |"
        )
    shown, count = coverage(catalogue.sections, tests)
    partly = sum(bool(x.lacks) for x in catalogue.behaviours)
    rows.append(f"| **all** | **{count}** | **{shown}** ({shown / count:.0%}) | {partly} | {count - shown} |")
    return "\n".join(
        [
            "| section | behaviours | with a test | of these in part | not modelled |",
            "|---|---:|---:|---:|---:|",
            *rows,
            "",
        ]
    )


def _section(section: Section, tests: Mapping[str, tuple[Marker, ...]]) -> str:
    rows = [_row(behaviour, tests.get(behaviour.id, ())) for behaviour in section.behaviours]
    return "\n".join(
        [f"## {section.title}", "", "| id | behaviour | source | mark | shown by |", "|---|---|---|---|---|", *rows, ""]
    )


def _row(behaviour: Behaviour, tests: tuple[Marker, ...]) -> str:
    says = f"{behaviour.says} *Not in it: {behaviour.lacks}*" if behaviour.lacks else behaviour.says
    shown = "<br>".join(f"[{x.name.removeprefix('test_').replace('_', ' ')}](../{x.path})" for x in tests)
    shown = shown or f"not modelled: {behaviour.why}"
    return f"| {' | '.join(map(_cell, (behaviour.id, says, behaviour.source, behaviour.mark, shown)))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _sources(catalogue: Catalogue) -> str:
    rows = [f"| {key} | {_cell(text)} |" for key, text in catalogue.sources.items()]
    return "\n".join(["## Sources", "", "| key | what |", "|---|---|", *rows, ""])


def _anchor(title: str) -> str:
    """As GitHub makes it: lower case, spaces to hyphens, punctuation dropped."""
    return "".join(x if x.isalnum() or x in "-_" else "-" if x == " " else "" for x in title.lower())
