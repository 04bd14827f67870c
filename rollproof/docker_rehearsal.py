"""A rehearsal on the docker stage: the same play (rehearsal.py), on the stage that Compose has set.

    rehearse_in_compose   on the user's machine: `docker compose up` where nothing is up, then the play in the
                          client's container, its records streamed here as they come, and the run fetched
    rehearse_on_docker    in the client's container, where the orchestrator and the load balancer can be reached

What is asked of the client goes over as an Order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rollproof import rehearsal as local
from rollproof.core.errors import Permanent, RollproofError, UsageError
from rollproof.disruptions import BadCommands, Disruption
from rollproof.history import Record, read_history
from rollproof.orchestrator.compose_stage import ComposeStage
from rollproof.orchestrator.docker_programme import Programme
from rollproof.orchestrator.docker_remote import RemoteStage, open_run
from rollproof.probe import ProbeOptions
from rollproof.report import write_reports
from rollproof.strategies import clients_of, fails_at_once
from rollproof.subject import Subject

ON_ALL_ADDRESSES = {"HOST": "0.0.0.0"}  # noqa: S104 - a container's own network
"""What a task's environment needs where it has an address of its own; the template's own value, too."""

IN_CONTAINERS: BadCommands = {
    Disruption.BAD_IMAGE: ("sh", "-c", "trap 'exit 0' TERM; sleep 2147483647 & wait"),
    Disruption.CRASHING_IMAGE: ("sh", "-c", "echo 'cannot start: no configuration' >&2; exit 1"),
}

Listener = Callable[[Record], None]


@dataclass(frozen=True)
class Order:
    """What to play. Without a `programme`: on the stage as it is. The probe's endpoint is the stage's."""

    programme: Programme | None = None
    disruption: Disruption = Disruption.ROLLING
    probe: ProbeOptions = local.PROBE
    mcp_path: str = "/mcp"
    name: str = "rehearsal"
    timeout_s: float = 0.0
    command: str = "rollproof rehearse --stage docker"
    probe_given: tuple[str, ...] = ()
    needs_warm_up: bool = True
    measure_s: float = 0.0


_ORDER: TypeAdapter[Order] = TypeAdapter(Order)


def order_of(rehearsal: local.Rehearsal, *, is_as_it_is: bool) -> Order:
    """`is_as_it_is`: whatever is up is rehearsed, with the settings it has. Raises NotModelled for planned faults."""
    local.check_faults(rehearsal, "docker")
    return Order(
        programme=None if is_as_it_is else programme_of(rehearsal),
        disruption=rehearsal.disruption,
        probe=rehearsal.probe,
        mcp_path=rehearsal.mcp_path,
        name=rehearsal.name,
        timeout_s=rehearsal.timeout_s,
        command=rehearsal.command,
        probe_given=rehearsal.probe_given,
        needs_warm_up=rehearsal.needs_warm_up,
        measure_s=rehearsal.measure_s,
    )


def programme_of(rehearsal: local.Rehearsal, state_dir: Path = Path("."), runs_dir: Path = Path(".")) -> Programme:
    """What the orchestrator sets a stage with. It takes its own directories, whatever a client names."""
    plan = local.stage_plan(rehearsal, state_dir, runs_dir)
    return Programme(plan, rehearsal.template, rehearsal.strategy, rehearsal.platform)


def write_order(order: Order) -> bytes:
    return _ORDER.dump_json(order)


def read_order(data: bytes) -> Order:
    """Raises UsageError for one of another version."""
    try:
        return _ORDER.validate_json(data)
    except ValidationError as error:
        raise UsageError(
            f"not an order of this version of rollproof: {error.error_count()} errors", hint="docker compose build"
        ) from error


async def rehearse_in_compose(
    compose: ComposeStage,
    order: Order,
    runs_dir: Path,
    *,
    image: str = "",
    sets_project: bool = False,
    listener: Listener | None = None,
    say: Callable[[str], None] | None = None,
) -> local.Rehearsed:
    """Play it to the end. A project that was up stays up; one that was not leaves nothing. Raises as `rehearse`."""
    if image:
        await compose.check_image(image)
    was_up = await compose.is_up()
    fetched: Path | None = None
    try:
        if not was_up or sets_project:
            await compose.up(say)
        playing = compose.play(write_order(order))
        try:
            async for record in playing:
                if listener is not None:
                    listener(record)
        finally:
            await playing.aclose()
            if compose.run_name:
                with suppress(RollproofError):
                    fetched = await compose.fetch(compose.run_name, runs_dir)
    finally:
        if not was_up:
            await compose.down(say)
    if fetched is None:
        raise Permanent("the run could not be fetched from the project's volume", hint="docker compose ps")
    return local.Rehearsed(write_reports(fetched, read_history(fetched / "history.jsonl")), fetched)


async def rehearse_on_docker(
    order: Order, state_dir: Path, *, listener: Listener | None = None, on_begun: Callable[[Path], None] | None = None
) -> local.Rehearsed:
    """Play it to the end; the stage stays up. `on_begun` is told the run's directory. Raises as `rehearse` does."""
    async with open_run(state_dir, order.name, order.programme, listener) as stage:
        run_dir = stage.plan.run_dir
        if on_begun is not None:
            on_begun(run_dir)
        rehearsal = _as_local(order, stage)
        local.record_settings(stage, rehearsal, stage_name="docker")
        await local.play(stage, rehearsal)
    return local.Rehearsed(write_reports(run_dir, read_history(run_dir / "history.jsonl")), run_dir)


def _as_local(order: Order, stage: RemoteStage) -> local.Rehearsal:
    """The rehearsal with the settings that the stage was set with, and the clients that go with its strategy."""
    plan, programme = stage.plan, stage.programme
    return local.Rehearsal(
        Subject(plan.settings, plan.images, plan.needs_redis, is_sample=True),
        programme.template,
        timing=plan.timing,
        disruption=order.disruption,
        probe=clients_of(order.probe, programme.strategy, order.probe_given),
        mcp_path=order.mcp_path,
        speed=plan.speed,
        seed=plan.seed,
        name=order.name,
        timeout_s=order.timeout_s,
        command=order.command,
        strategy=programme.strategy,
        platform=programme.platform,
        bad_commands=IN_CONTAINERS,
        needs_warm_up=order.needs_warm_up and not fails_at_once(programme.strategy),
        measure_s=order.measure_s,
    )
