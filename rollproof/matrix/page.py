"""docs/strategies.md: prose that is written by hand, and the tables of matrices that were played.

    python -m rollproof.matrix.page docs/matrix        # local.json, docker.json (if it is there) -> docs/strategies.md

The prose stands in strategies.template.md beside this file, with a {{name}} for each generated part; making the page
anew touches nothing else of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from rollproof.core.errors import UsageError
from rollproof.matrix.markdown import costs, failures, markdown_table, table
from rollproof.matrix.model import Matrix, read_matrix
from rollproof.matrix.words import expected_of, fate_words, stage_words
from rollproof.strategies import STRATEGIES, Strategy

TEMPLATE = Path(__file__).with_name("strategies.template.md")
PAGE = "strategies.md"
LOCAL, DOCKER = "local.json", "docker.json"
NOT_PLAYED = "Not played for this page: `rollproof matrix --stage docker` does.\n"

_PART = re.compile(r"\{\{(\w+)\}\}")


def page(local: Matrix, docker: Matrix | None = None, template: str | None = None) -> str:
    """The whole page. Raises UsageError for a part that the template names and there is not."""
    parts = _parts(local, docker)
    text = TEMPLATE.read_text(encoding="utf-8") if template is None else template
    unknown = sorted(set(_PART.findall(text)) - parts.keys())
    if unknown:
        raise UsageError(f"{TEMPLATE.name} asks for {', '.join(unknown)}", hint=f"there are {', '.join(parts)}")
    return _PART.sub(lambda found: parts[found[1]], text)


def write_page(directory: Path) -> Path:
    """From the matrices in `directory` to the page beside it. Raises UsageError where there is no local one."""
    path = directory.parent / PAGE
    path.write_text(page_of(directory), encoding="utf-8")
    return path


def page_of(directory: Path) -> str:
    """The page that the matrices in `directory` make."""
    docker = directory / DOCKER
    return page(read_matrix(directory / LOCAL), read_matrix(docker) if docker.is_file() else None)


def _parts(local: Matrix, docker: Matrix | None) -> Mapping[str, str]:
    folder = "matrix"
    return {
        "number": str(len(STRATEGIES)),
        "strategies": strategies_table(),
        "local_about": _about(local),
        "local_table": table(local),
        "local_speed": f", at speed {local.asked.speed:g}" if local.asked.speed != 1 else "",
        "local_surprises": _surprises(local),
        "local_failures": failures(local) or "No call failed.\n",
        "local_costs": costs(local) or "Not measured.\n",
        "docker": _docker(docker),
        "local_file": f"{folder}/{LOCAL}",
        "docker_file": f" and [docker]({folder}/{DOCKER})" if docker else "",
    }


def strategies_table() -> str:
    """What each strategy sets, and what its clients do."""
    rows = [
        [f"`{x.name}`", x.summary, _environment(x), _clients(x) or "as by default", x.expected]
        for x in STRATEGIES.values()
    ]
    columns = ["strategy", "what", "environment of the server", "clients", "expected of a rolling deployment"]
    return markdown_table(columns, rows)


def _environment(strategy: Strategy) -> str:
    found = [f"`{name}={value}`" for name, value in strategy.environment.items()]
    found += ["`MCP_REQUEST_STATE_KEY`"] if getattr(strategy, "shares_request_state", False) else []
    found += ["`REDIS_URL`"] if strategy.uses_redis else []
    return " ".join(found)


def _clients(strategy: Strategy) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in strategy.probe.items())


def _plain(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _about(matrix: Matrix) -> str:
    played = f"Played {matrix.began_at[:10]} with rollproof {matrix.rollproof} ({matrix.machine}): "
    return f"{played}{stage_words(matrix.asked)}.\n\n    {matrix.command}"


def _surprises(matrix: Matrix) -> str:
    """Where a rolling deployment ended otherwise than expected; a paragraph, or nothing."""
    told = [
        f"`{x.strategy}`: {fate_words(x)}, expected {expected_of(matrix, x.strategy)}. {x.reason}."
        for x in matrix.surprises()
    ]
    return "Not as expected of a rolling deployment:\n\n" + "".join(f"- {line}\n" for line in told) if told else ""


def _docker(docker: Matrix | None) -> str:
    if docker is None:
        return NOT_PLAYED
    parts = [_about(docker) + "\n", table(docker), _surprises(docker), failures(docker), costs(docker)]
    return "\n".join(part for part in parts if part)


if __name__ == "__main__":
    sys.stdout.write(f"{write_page(Path(sys.argv[1]))}\n")
