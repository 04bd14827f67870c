"""The server under rehearsal: where it comes from, and what it is deployed with.

The sample server with its own templates, `--app module:factory` (any ASGI application), `--command "..."` (any program
that listens on $PORT), or `--image NAME` (docker stage). Templates of one's own go with each of them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rollproof.api.knobs import KnobReading, settings_from_templates
from rollproof.core.errors import UsageError
from rollproof.core.settings import (
    HealthCheck,
    LoadBalancerSettings,
    ServiceSettings,
    Settings,
    Stickiness,
    TargetGroupSettings,
)
from rollproof.orchestrator.runtimes.launch_plan import ImageSpec
from rollproof.strategies import find_strategy

NEVER_LISTENS = (sys.executable, "-c", "import signal; signal.signal(15, lambda *_: exit(0)); signal.pause()")
"""The command of a bad image: a process that runs, and answers nothing."""

SAMPLE_APP = "server.serving:create_uvicorn_server"
"""The sample as the in-process stage makes it."""

CRASHES_AT_START = (sys.executable, "-c", "import sys; sys.exit('cannot start: no configuration')")


@dataclass(frozen=True)
class Subject:
    """What is put on the stage. `notes` are what the templates ask for and a rehearsal leaves out.

    What its tasks need that no template holds: a Redis, and one key for all to seal requestState with.
    """

    settings: Settings
    images: Mapping[str, ImageSpec]
    needs_redis: bool
    is_sample: bool
    notes: tuple[str, ...] = ()
    needs_request_state_key: bool = False


def sample_root() -> Path:
    """The directory that holds the sample's `server/` and `aws/`: this checkout, or the installed package."""
    package = Path(__file__).resolve().parent
    for root in (package.parent, package / "sample"):
        if (root / "server" / "__main__.py").is_file() and (root / "aws" / "ecs.yaml").is_file():
            return root
    raise UsageError(
        "the sample server is not part of this installation", hint="bring your own with --app or --command"
    )


def find_subject(
    *,
    app: str = "",
    command: str = "",
    image: str = "",
    templates: Sequence[Path] = (),
    parameters: Mapping[str, str] | None = None,
    imports: Mapping[str, str] | None = None,
    service: str = "",
    environment: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
) -> Subject:
    """The subject that these flags name. Raises UsageError for a template, app or command that cannot be used."""
    if sum(map(bool, (app, command, image))) > 1:
        raise UsageError("--app, --command and --image exclude each other", hint="give one of them")
    is_sample = not (app or command or image)
    root = sample_root() if is_sample else Path(working_directory or Path.cwd())
    if is_sample and not templates:
        templates = (root / "aws" / "infrastructure.yaml", root / "aws" / "ecs.yaml")
    reading = (
        settings_from_templates(templates, parameters, imports=imports, service=service) if templates else _own_server()
    )
    settings = _with_environment(reading.settings, {"HOST": "127.0.0.1"} | dict(environment or {}))
    in_process = SAMPLE_APP if is_sample else app
    start = ImageSpec(() if image else _start_command(app, command), root, app=in_process)
    needed = set(reading.secret_names) - set(environment or {})
    return Subject(
        settings,
        {settings.task_definition.image: start},
        needs_redis="REDIS_URL" in needed,
        is_sample=is_sample,
        notes=reading.notes,
        needs_request_state_key="MCP_REQUEST_STATE_KEY" in needed,
    )


def _start_command(app: str, command: str) -> tuple[str, ...]:
    if not app and not command:
        return (sys.executable, "-m", "server")
    if command:
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise UsageError(f"--command {command!r}: {error}", hint="quote it as for a shell") from error
        if not words:
            raise UsageError("--command is empty")
        return words
    module, _, factory = app.partition(":")
    if not (module and factory and all(part.isidentifier() for part in module.split("."))):
        raise UsageError(f"--app {app!r} is not module:factory", hint="e.g. --app my_server.main:create_app")
    return (sys.executable, "-m", "rollproof.orchestrator.runtimes.serve_app", app)


def _own_server() -> KnobReading:
    """A server without a template: AWS's defaults, stickiness as such servers have it, and a lenient check.

    Nothing but /mcp is known of it, and MCP endpoints answer a bare GET with a 4xx. How long it takes to start is
    not known either: the grace period gives it time.
    """
    settings = Settings(
        service=ServiceSettings(health_check_grace_period_s=60.0),
        target_group=TargetGroupSettings(
            stickiness=Stickiness(enabled=True), health_check=HealthCheck(path="/mcp", matcher="200-499")
        ),
        load_balancer=LoadBalancerSettings(),
    )
    ours = "rollproof default for a server without a template"
    sources = {
        "service.health_check_grace_period_s": ours,
        "target_group.stickiness.enabled": ours,
        "target_group.health_check.path": ours,
        "target_group.health_check.matcher": ours,
    }
    return KnobReading(replace(settings, sources=sources))


def _with_environment(settings: Settings, environment: Mapping[str, str]) -> Settings:
    definition = settings.task_definition
    merged = {**definition.environment, **environment}
    return replace(settings, task_definition=replace(definition, environment=merged))


def with_strategy(subject: Subject, name: str) -> Subject:
    """The sample with another session strategy. Raises UsageError for a server that is not the sample."""
    strategy = find_strategy(name)
    if not subject.is_sample:
        raise UsageError(
            "--strategy is a setting of the sample server",
            hint="set your own server's environment with --env NAME=VALUE",
        )
    sources = {f"task_definition.environment.{variable}": f"--strategy {name}" for variable in strategy.environment}
    settings = _with_environment(subject.settings, strategy.environment)
    settings = replace(settings, sources={**settings.sources, **sources})
    return replace(
        subject,
        settings=settings,
        needs_redis=subject.needs_redis and strategy.uses_redis,
        needs_request_state_key=subject.needs_request_state_key and strategy.shares_request_state,
    )
