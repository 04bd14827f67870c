"""The behaviours: what AWS does, from which source, how sure that is, and why some are not modelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

CATALOGUE = Path(__file__).with_name("catalogue")
SOURCES = "sources.yaml"
MARKS = ("doc", "observed", "inferred")


@dataclass(frozen=True)
class Behaviour:
    """`why` says why it is not modelled; one without it has a test. `lacks` is what a modelled one leaves out."""

    id: str
    says: str
    source: str
    mark: str
    lacks: str = ""
    why: str = ""


@dataclass(frozen=True)
class Section:
    """A file of the catalogue. What share must have a test is counted over all sections of a `part`."""

    title: str
    part: str
    behaviours: tuple[Behaviour, ...]


@dataclass(frozen=True)
class Catalogue:
    """`sources`: key -> what it stands for. `least_percent`: part -> how many of its behaviours have a test."""

    sections: tuple[Section, ...]
    sources: Mapping[str, str]
    least_percent: Mapping[str, int]

    @property
    def behaviours(self) -> tuple[Behaviour, ...]:
        return tuple(behaviour for section in self.sections for behaviour in section.behaviours)


def read_catalogue(directory: Path = CATALOGUE) -> Catalogue:
    """Sections in the order of their file names. Raises ValueError naming file and entry for one that is malformed."""
    keys = yaml.load((directory / SOURCES).read_text(), _LOADER)
    sections = tuple(_section(path) for path in sorted(directory.glob("*.yaml")) if path.name != SOURCES)
    return Catalogue(sections, keys["sources"], keys["least_percent"])


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FIELDS = {field.name for field in fields(Behaviour)}


def _section(path: Path) -> Section:
    written = yaml.load(path.read_text(), _LOADER)
    return Section(written["title"], written["part"], tuple(_behaviour(path, entry) for entry in written["behaviours"]))


def _behaviour(path: Path, entry: Any) -> Behaviour:
    if (
        not isinstance(entry, dict)
        or not entry.keys() <= _FIELDS
        or not all(isinstance(x, str) for x in entry.values())
    ):
        raise ValueError(
            f"{path.name}: {entry!r} is no behaviour: its fields are {', '.join(sorted(_FIELDS))}, all text"
        )
    try:
        return Behaviour(**entry)
    except TypeError as error:
        raise ValueError(f"{path.name}: {entry.get('id', entry)!r}: {error}") from error
