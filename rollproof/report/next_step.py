"""The one command that is sensible after a verdict."""

from __future__ import annotations

from rollproof.core.platforms import FARGATE
from rollproof.verdict import Outcome, Verdict

KEEPS_STATE_IN_A_TASK = ("memory", "redis-state")
"""Strategies of the sample server whose sessions live in one task's memory, in whole or in part."""


def next_command(verdict: Verdict) -> str:
    """What to type next, with the reason behind `#`; on the stage and the platform that the run was on."""
    command = _on_the_local_stage(verdict)
    platform = str(verdict.settings.get("platform") or FARGATE)
    if platform != FARGATE and "--platform" not in command:
        command = command.replace("rollproof rehearse", f"rollproof rehearse --platform {platform}", 1)
    if verdict.settings.get("stage") != "docker" or "--stage" in command:
        return command
    return command.replace("rollproof rehearse", "rollproof rehearse --stage docker", 1).replace(
        "rollproof status", "rollproof status --stage docker", 1
    )


def _on_the_local_stage(verdict: Verdict) -> str:
    if verdict.outcome is Outcome.UNKNOWN:
        return _until_it_proves(verdict)
    if verdict.outcome is Outcome.FAIL:
        return _after_a_loss(verdict)
    if verdict.speed != 1:
        return "rollproof rehearse --speed 1  # the same at AWS's own pace"
    is_on_ecs = str(verdict.settings.get("platform") or FARGATE).startswith(FARGATE)
    if is_on_ecs and not verdict.settings.get("behaviour.sticky_overrides_drain"):
        return "rollproof rehearse --set behaviour.sticky_overrides_drain=true  # the other reading of draining"
    return "rollproof rehearse --strategy memory  # what this server would lose without its store"


def _until_it_proves(verdict: Verdict) -> str:
    if not verdict.sessions:
        return "rollproof rehearse  # warms sessions up before it deploys"
    if not verdict.replaced_tasks:
        return "rollproof status  # did the service take the deployment, and are its new tasks healthy?"
    return f"{verdict.replay.command or 'rollproof rehearse'}  # again, calling until the service is steady"


def _after_a_loss(verdict: Verdict) -> str:
    if verdict.settings.get("strategy") in KEEPS_STATE_IN_A_TASK:
        return "rollproof rehearse --strategy stateless  # the same server without a session in a task"
    return f"{verdict.replay.command or 'rollproof rehearse'}  # again, once the server keeps its sessions elsewhere"
