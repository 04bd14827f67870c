"""python -m tests.fidelity: write docs/fidelity.md, and say what catalogue and markers do not agree on."""

from __future__ import annotations

import sys

from tests.fidelity.catalogue import read_catalogue
from tests.fidelity.complaints import complaints, coverage, tests_by_id
from tests.fidelity.markers import ROOT, find_markers
from tests.fidelity.page import PAGE, render


def main() -> int:
    """0, or 1 with the complaints on standard error; the page is written either way."""
    try:
        catalogue, markers = read_catalogue(), find_markers()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    PAGE.write_text(render(catalogue, markers))
    shown, count = coverage(catalogue.sections, tests_by_id(markers))
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}: {shown} of {count} behaviours are shown by a test\n")
    found = complaints(catalogue, markers)
    sys.stderr.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
