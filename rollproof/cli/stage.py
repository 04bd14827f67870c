"""Where a command acts: on the local stage, in this process, or on the docker stage, through the Compose project."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from rollproof.cli import options as o
from rollproof.cli.running import run
from rollproof.core.errors import UsageError
from rollproof.orchestrator.compose_stage import ComposeStage, find_compose_file
from rollproof.subject import sample_root

EMBEDDED_OVERLAY = Path("compose") / "embedded-balancer.yml"


class StageName(StrEnum):
    LOCAL = "local"  # processes; no Docker needed
    DOCKER = "docker"  # containers of the Compose project
    SIM = "sim"  # applications in one process, in virtual time; lasts as long as a rehearsal


def _standing(stage: StageName) -> StageName:
    if stage is StageName.SIM:
        raise UsageError(
            "the in-process stage lasts only as long as a rehearsal",
            hint="rollproof rehearse --stage sim; for one that stays up: --stage local or docker",
        )
    return stage


StageOption = Annotated[
    StageName,
    typer.Option(
        "--stage",
        envvar="ROLLPROOF_STAGE",
        help="local: processes of this machine. docker: containers of the Compose project.",
        rich_help_panel=o.STAGE,
        callback=_standing,
    ),
]
"""Where a service is up between two commands."""

PlayedOnOption = Annotated[
    StageName,
    typer.Option(
        "--stage",
        envvar="ROLLPROOF_STAGE",
        help="sim: in one process, in virtual time. local: processes of this machine. docker: containers.",
        rich_help_panel=o.STAGE,
    ),
]
"""Where a rehearsal is played."""


def compose_stage(*, port: int = 0, image: str = "", balancer: str = "") -> ComposeStage:
    """The project of this checkout. Raises UsageError where there is none."""
    environment: dict[str, str] = {}
    if port:
        environment["ROLLPROOF_PORT"] = str(port)
    if image:
        environment["ROLLPROOF_IMAGE"] = image
    compose_file = find_compose_file(Path.cwd(), sample_root())
    overlays = [compose_file.parent / EMBEDDED_OVERLAY] if balancer == "embedded" else []
    return ComposeStage(compose_file, environment, overlays=overlays)


def act_in_compose(arguments: list[str]) -> NoReturn:
    """Let the project's client do this command, on this terminal: from here on, this process is docker's.

    Raises UsageError where nothing is up.
    """
    stage = compose_stage()
    if not run(stage.is_there(), on_stop=""):
        raise UsageError(
            "the docker stage is not up", hint="rollproof up --stage docker, or docker compose up -d --wait"
        )
    terminal = [] if sys.stdin.isatty() and sys.stdout.isatty() else ["-T"]
    command = stage.command("run", "--rm", "--no-deps", *terminal, "client", *without_stage(arguments))
    os.execvpe(command[0], command, stage.environment)  # noqa: S606 - no shell, on purpose


def without_stage(arguments: list[str]) -> list[str]:
    """The words of a command line less its --stage.

    >>> without_stage(["status", "--stage", "docker", "--json", "--stage=docker"])
    ['status', '--json']
    """
    words, is_next = [], False
    for word in arguments:
        if is_next or word.startswith("--stage="):
            is_next = False
        elif word == "--stage":
            is_next = True
        else:
            words.append(word)
    return words
