"""What catalogue and markers do not agree on, as sentences that say what to do."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tests.fidelity.catalogue import MARKS, Catalogue, Section
from tests.fidelity.markers import Marker

_ID = re.compile(r"[A-Z]+(-[A-Z]+)?-[1-9]\d*")
_RANGE = re.compile(r"O(\d+)-O(\d+)")


def tests_by_id(markers: Iterable[Marker]) -> dict[str, tuple[Marker, ...]]:
    """Behaviour's id -> the markers that name it, each test once, in the order of their files."""
    found: dict[str, dict[tuple[str, str, str], Marker]] = defaultdict(dict)
    for marker in markers:
        for each in marker.ids:
            found[each].setdefault((marker.path, marker.owner, marker.name), marker)
    return {each: tuple(tests.values()) for each, tests in found.items()}


def coverage(sections: Iterable[Section], tests: Mapping[str, tuple[Marker, ...]]) -> tuple[int, int]:
    """(behaviours with a test, behaviours) of these sections."""
    ids = [behaviour.id for section in sections for behaviour in section.behaviours]
    return sum(each in tests for each in ids), len(ids)


def complaints(catalogue: Catalogue, markers: Iterable[Marker]) -> list[str]:
    """Empty where all is well."""
    markers = tuple(markers)
    return [*_of_entries(catalogue), *_of_markers(catalogue, markers), *_of_coverage(catalogue, tests_by_id(markers))]


def _of_entries(catalogue: Catalogue) -> Iterator[str]:
    for each, count in Counter(x.id for x in catalogue.behaviours).items():
        if count > 1:
            yield f"{each}: {count} behaviours of that id; an id is never given twice"
    for entry in catalogue.behaviours:
        if not _ID.fullmatch(entry.id):
            yield f"{entry.id}: not of the form ALB-DRAIN-3"
        if entry.mark not in MARKS:
            yield f"{entry.id}: its mark is {entry.mark!r}, not one of {', '.join(MARKS)}"
        for key in source_keys(entry.source):
            if key not in catalogue.sources:
                yield f"{entry.id}: {key!r} is no key of sources.yaml"
        if entry.lacks and entry.why:
            yield f"{entry.id}: what is not modelled lacks nothing; say it in `why`"


def source_keys(source: str) -> Iterator[str]:
    """The keys of a source: "ALB-UG/sticky-sessions; O1-O3" has ALB-UG, O1, O2 and O3; LBC#2366 has LBC."""
    for part in source.split("; "):
        if found := _RANGE.fullmatch(part):
            yield from (f"O{n}" for n in range(int(found[1]), int(found[2]) + 1))
        else:
            yield re.split(r"[/# ]|-20\d\d", part)[0]


def _of_markers(catalogue: Catalogue, markers: tuple[Marker, ...]) -> Iterator[str]:
    known = {behaviour.id: behaviour for behaviour in catalogue.behaviours}
    for marker in markers:
        for each in marker.ids:
            if each not in known:
                yield f"{marker.where}: {each} is in no file of tests/fidelity/catalogue"
            elif known[each].why:
                yield f"{marker.where}: shows {each}, which the catalogue calls not modelled: take its `why` away"
        entry = known.get(marker.ids[0])
        for name in ("source", "mark") if entry else ():
            here, there = getattr(marker, name), getattr(entry, name)
            if here and here != there:
                yield f"{marker.where}: {marker.ids[0]} has {name} {here!r} here and {there!r} in the catalogue"


def _of_coverage(catalogue: Catalogue, tests: Mapping[str, tuple[Marker, ...]]) -> Iterator[str]:
    for entry in catalogue.behaviours:
        if entry.id not in tests and not entry.why:
            yield f"{entry.id}: neither a test names it nor says `why` that it is not modelled"
    for part, least in catalogue.least_percent.items():
        shown, count = coverage([x for x in catalogue.sections if x.part == part], tests)
        if shown * 100 < least * count:
            yield f"part {part}: {shown} of {count} behaviours have a test, less than {least} %"
