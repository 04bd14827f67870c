"""Flags that several commands share, and what they add up to."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from rollproof.api.config import Config, load_config
from rollproof.api.knobs import apply_overrides, apply_timing_overrides, split_overrides
from rollproof.core.errors import UsageError
from rollproof.core.platforms import FARGATE, PLATFORMS, settings_on_platform, timing_on_platform
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.core.validate import validate
from rollproof.orchestrator.stage_files import BalancerKind
from rollproof.subject import Subject, find_subject, with_strategy

SUBJECT = "The server under rehearsal"
KNOBS = "Settings"
STAGE = "The stage"

App = Annotated[
    str,
    typer.Option("--app", metavar="MODULE:FACTORY", help="Any ASGI or FastMCP application.", rich_help_panel=SUBJECT),
]
Command = Annotated[
    str,
    typer.Option("--command", metavar="LINE", help="Any program that listens on $PORT.", rich_help_panel=SUBJECT),
]
Image = Annotated[
    str,
    typer.Option(
        "--image", metavar="NAME", help="Docker stage only: an image on this machine.", rich_help_panel=SUBJECT
    ),
]
Template = Annotated[
    list[Path] | None,
    typer.Option(
        "--template", metavar="FILE", help="CloudFormation that deploys it. Repeatable.", rich_help_panel=SUBJECT
    ),
]
Parameter = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter", metavar="NAME=VALUE", help="A template parameter. Repeatable.", rich_help_panel=SUBJECT
    ),
]
Env = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME=VALUE", help="Environment of its tasks. Repeatable.", rich_help_panel=SUBJECT),
]
Strategy = Annotated[
    str,
    typer.Option(
        "--strategy",
        metavar="NAME",
        help="Sample server only, see docs/strategies.md: stateless (as its templates deploy it), memory, ...",
        rich_help_panel=SUBJECT,
    ),
]
PlatformOption = Annotated[
    str,
    typer.Option(
        "--platform",
        metavar="NAME",
        envvar="ROLLPROOF_PLATFORM",
        help=f"What runs the tasks, see docs/platforms.md: {', '.join(PLATFORMS)}.",
        rich_help_panel=STAGE,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KNOB=VALUE",
        help="A what-if over the template: deregistration_delay_s=30. Repeatable. `rollproof knobs` lists them.",
        rich_help_panel=KNOBS,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Default: rollproof.toml, if it is here.", rich_help_panel=KNOBS),
]
Speed = Annotated[
    float,
    typer.Option("--speed", help="AWS seconds in one real second. 1 is AWS's own pace.", rich_help_panel=KNOBS),
]
Seed = Annotated[int, typer.Option("--seed", help="Of everything drawn by chance.", rich_help_panel=KNOBS)]
Port = Annotated[
    int, typer.Option("--port", help="The load balancer's, on 127.0.0.1. 0: a free one.", rich_help_panel=STAGE)
]
Balancer = Annotated[
    BalancerKind | None,
    typer.Option(
        "--balancer",
        help="What plays the ALB: our own (embedded), or nginx with njs. Default: embedded; on the docker stage nginx.",
        rich_help_panel=STAGE,
    ),
]
RedisUrl = Annotated[
    str,
    typer.Option(
        "--redis-url",
        envvar="REDIS_URL",
        show_envvar=True,
        help="Use this Redis. Else redis-server on PATH, else an embedded one.",
        rich_help_panel=STAGE,
    ),
]
StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="ROLLPROOF_STATE_DIR",
        help="Where a stage that stays up keeps what it needs.",
        rich_help_panel=STAGE,
    ),
]
Runs = Annotated[Path, typer.Option("--runs", help="Where runs are kept.", rich_help_panel=STAGE)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Every session, every check.")]
Json = Annotated[bool, typer.Option("--json", help="The same facts as JSON, on standard output.")]

DEFAULT_STATE_DIR = Path(".rollproof") / "local"
CONFIG_NAME = "rollproof.toml"
PROGRAM = "rollproof"
MAX_SPEED = 100.0


@dataclass(frozen=True)
class Chosen:
    """A subject with all settings decided. `template` is what stood before what-ifs."""

    subject: Subject
    template: Settings
    timing: Timing
    config: Config | None


def choose(
    *,
    app: str = "",
    command: str = "",
    image: str = "",
    template: Sequence[Path] | None = None,
    parameter: Sequence[str] | None = None,
    env: Sequence[str] | None = None,
    strategy: str = "",
    platform: str = FARGATE,
    sets: Sequence[str] | None = None,
    config_file: Path | None = None,
    speed: float = 1.0,
    environment: Mapping[str, str] | None = None,
) -> Chosen:
    """What the flags and rollproof.toml say; flags win, and a platform's profile goes under both.

    `environment` is what the stage itself adds to the tasks'. Raises UsageError, or NotModelled.
    """
    if not 0 < speed <= MAX_SPEED:
        raise UsageError(f"--speed {speed:g} is out of range", hint=f"above 0, at most {MAX_SPEED:g}")
    config = _config(config_file)
    own = bool(app or command or image)
    subject = find_subject(
        app=app or (config.app if config and not (command or image) else ""),
        command=command or (config.command if config and not (app or image) else ""),
        image=image,
        templates=tuple(template or (config.template_files if config else ())),
        parameters={**(config.template_parameters if config else {}), **pairs("--parameter", parameter)},
        imports=config.template_imports if config else {},
        service=config.service if config else "",
        environment={**(environment or {}), **(config.env if config and not own else {}), **pairs("--env", env)},
    )
    before = subject.settings
    if strategy:
        subject = with_strategy(subject, strategy)
    settings, timing = settings_on_platform(subject.settings, platform), timing_on_platform(Timing(), platform)
    layers = [(config.overrides, config.source)] if config else []
    for overrides, source in [*layers, (pairs("--set", sets), "--set")]:
        ours, timings = split_overrides(overrides)
        settings, timing = apply_overrides(settings, ours, source=source), apply_timing_overrides(timing, timings)
    validate(settings)
    return Chosen(replace(subject, settings=settings), before, timing, config)


def _config(path: Path | None) -> Config | None:
    if path is None:
        path = Path(CONFIG_NAME)
        if not path.exists():
            return None
    return load_config(path)


def pairs(flag: str, given: Sequence[str] | None) -> dict[str, str]:
    """NAME=VALUE strings as a dict. Raises UsageError for one without an equals sign."""
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{flag} {text!r} is not NAME=VALUE", hint=f"e.g. {flag} NAME=VALUE")
        found[name.strip()] = value
    return found


def are_given(context: typer.Context, *names: str) -> bool:
    """Whether any of these parameters of a command was given, on the command line or by the environment."""
    given = (context.get_parameter_source(name) for name in names)
    return any(source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT") for source in given)


def check_port(port: int) -> None:
    """Raises UsageError for a number that no port has."""
    if not 0 <= port <= 65_535:
        raise UsageError(f"--port {port} is out of range", hint="1 to 65535, or 0 for a free one")


def words(flag: str, line: str) -> tuple[str, ...]:
    """The words of a command line. Raises UsageError for an open quote."""
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"{flag} {line!r}: {error}", hint="quote it as for a shell") from error


def command_line() -> str:
    """This command as it can be typed again. Values of variables that may hold secrets are left out."""
    words, hide = shlex.split(PROGRAM), False
    for word in sys.argv[1:]:
        if hide and word.startswith(("redis://", "rediss://")):
            word = "redis://..."  # noqa: PLW2901
        elif word.startswith("--redis-url="):
            word = "--redis-url=redis://..."  # noqa: PLW2901
        hide = word in ("--redis-url", "--env")
        words.append(word)
    return shlex.join(words)


def state_dir_of(path: Path) -> Path:
    return Path(os.path.abspath(path))
