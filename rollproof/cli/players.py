"""Who plays a rehearsal on which stage, and what each stage can be asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from rollproof.cli.running import NOTHING_LEFT, run
from rollproof.cli.stage import StageName, compose_stage
from rollproof.core.errors import UsageError
from rollproof.core.platforms import refuse_elsewhere
from rollproof.docker_rehearsal import ON_ALL_ADDRESSES, order_of, rehearse_in_compose
from rollproof.history import Record
from rollproof.orchestrator.stage_files import BalancerKind
from rollproof.probe import ProbeOptions
from rollproof.rehearsal import Rehearsal, Rehearsed, rehearse
from rollproof.sim_rehearsal import rehearse_in_thread

OF_THE_SERVICE = ("image", "template", "parameter", "env", "strategy", "platform", "set_", "config", "speed", "seed")
"""Flags that set something of the service: a docker stage that is up is rehearsed as it is without them."""


@dataclass(frozen=True)
class Asked:
    """What is to be played. `is_as_it_is`: nothing was said of the service, so one that is up stays as it is.

    `sets_project`: something was said of the Compose project itself, so one that is up is made so.
    """

    rehearsal: Rehearsal
    image: str = ""
    is_as_it_is: bool = False
    sets_project: bool = False


class Audience(Protocol):
    """Who is told what goes on: history records as they come, and what is not in the history."""

    def listen(self, record: Record, /) -> None: ...

    def say(self, phase: str, /) -> None: ...


class Player(Protocol):
    """`environment`: what the stage adds to the tasks' own. `refused`: flags it cannot be asked for; why, a hint."""

    @property
    def environment(self) -> Mapping[str, str]: ...

    @property
    def balancer(self) -> BalancerKind: ...

    @property
    def refused(self) -> Mapping[str, tuple[str, str]]: ...

    @property
    def on_stop(self) -> str:
        """What is said after Ctrl-C."""

    def usual(self, probe: ProbeOptions, /) -> ProbeOptions:
        """The clients where nothing is said of how many, and how often they call."""

    async def rehearse(self, asked: Asked, audience: Audience, /) -> Rehearsed:
        """To the end. Raises as `rehearse`."""

    def kept_up(self, rehearsal: Rehearsal, audience: Audience, /) -> AbstractAsyncContextManager[None]:
        """For several rehearsals, what each would set up and take down again stays up: what `rehearsal` needs."""


def play(player: Player, asked: Asked, audience: Audience) -> Rehearsed:
    """One rehearsal, to the end. Raises as `rehearse`, and Interrupted."""
    return run(player.rehearse(asked, audience), on_stop=player.on_stop)


def check_flags(player: Player, given: Mapping[str, str]) -> None:
    """Raises UsageError for a flag that this stage cannot be asked for."""
    for flag, value in given.items():
        if value and flag in player.refused:
            message, hint = player.refused[flag]
            raise UsageError(f"{flag}: {message}", hint=hint)


def check_stage(player: Player, rehearsal: Rehearsal) -> None:
    """Raises NotModelled for a platform that this stage, or its balancer, does not play."""
    if isinstance(player, SimPlayer):
        refuse_elsewhere(rehearsal.settings.platform, "the in-process stage")
    elif not isinstance(player, LocalPlayer):
        refuse_elsewhere(rehearsal.settings.platform, "the docker stage")
    elif rehearsal.balancer is not BalancerKind.EMBEDDED:
        refuse_elsewhere(rehearsal.settings.platform, rehearsal.balancer)


class EachSetsItsOwn:
    """Nothing is worth keeping between two rehearsals, or somebody else keeps it."""

    def usual(self, probe: ProbeOptions, /) -> ProbeOptions:
        return probe

    @asynccontextmanager
    async def kept_up(self, _rehearsal: Rehearsal, _audience: Audience, /) -> AsyncIterator[None]:
        yield


class LocalPlayer(EachSetsItsOwn):
    balancer = BalancerKind.EMBEDDED
    environment: Mapping[str, str] = {}
    refused: Mapping[str, tuple[str, str]] = {
        "--image": ("needs containers", "--stage docker, or --command for a program of this machine"),
    }

    on_stop = NOTHING_LEFT

    async def rehearse(self, asked: Asked, audience: Audience, /) -> Rehearsed:
        return await rehearse(asked.rehearsal, listener=audience.listen)


class SimPlayer(EachSetsItsOwn):
    balancer = BalancerKind.EMBEDDED
    environment: Mapping[str, str] = {}
    refused: Mapping[str, tuple[str, str]] = {
        "--image": ("needs containers", "--stage docker"),
        "--command": ("runs a program, not an application of Python", "--app module:attribute, or --stage local"),
        "--redis-url": (
            "the in-process stage has a Redis of its own, in virtual time",
            "leave it out; unset REDIS_URL",
        ),
        "--port": ("the in-process stage listens on no port", "leave it out, or --stage local"),
        "--speed": ("virtual time costs nothing: the in-process stage plays at AWS's pace", "leave it out"),
        "--balancer": ("the in-process stage has its own", "leave it out, or --stage local"),
    }
    on_stop = NOTHING_LEFT

    def usual(self, probe: ProbeOptions, /) -> ProbeOptions:
        """A rollout lasts its full eight minutes here: fewer calls show as much, in a few real seconds."""
        return replace(probe, sessions=10, delay_s=5.0)

    async def rehearse(self, asked: Asked, audience: Audience, /) -> Rehearsed:
        return await rehearse_in_thread(asked.rehearsal, listener=audience.listen)


class DockerPlayer:
    def usual(self, probe: ProbeOptions, /) -> ProbeOptions:
        return probe

    balancer = BalancerKind.NGINX
    environment: Mapping[str, str] = ON_ALL_ADDRESSES
    refused: Mapping[str, tuple[str, str]] = {
        "--app": ("runs a process of this machine", "build an image of it, and give --image NAME"),
        "--command": ("runs a process of this machine", "build an image of it, and give --image NAME"),
        "--redis-url": ("the docker stage has a Redis of its own", "leave it out, and unset REDIS_URL"),
    }

    on_stop = "stopped; the Compose project is as it was before"

    async def rehearse(self, asked: Asked, audience: Audience, /) -> Rehearsed:
        rehearsal = asked.rehearsal
        compose = compose_stage(port=rehearsal.port, image=asked.image, balancer=rehearsal.balancer)
        order = order_of(rehearsal, is_as_it_is=asked.is_as_it_is)
        return await rehearse_in_compose(
            compose,
            order,
            rehearsal.runs_dir,
            image=asked.image,
            sets_project=asked.sets_project,
            listener=audience.listen,
            say=audience.say,
        )

    @asynccontextmanager
    async def kept_up(self, rehearsal: Rehearsal, audience: Audience, /) -> AsyncIterator[None]:
        compose = compose_stage(port=rehearsal.port, balancer=rehearsal.balancer)
        was_up = await compose.is_up()
        try:
            if not was_up or rehearsal.balancer is not self.balancer:
                await compose.up(audience.say)
            yield
        finally:
            if not was_up:
                await compose.down(audience.say)


PLAYERS: dict[StageName, Player] = {
    StageName.LOCAL: LocalPlayer(),
    StageName.DOCKER: DockerPlayer(),
    StageName.SIM: SimPlayer(),
}
"""The client's container has another one: cli/docker_client.py."""
