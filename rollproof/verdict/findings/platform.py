"""What another platform than ECS behind an ALB changes, and what its profile leaves out."""

from __future__ import annotations

from rollproof.core.platforms import PLATFORMS
from rollproof.verdict.findings.story import Story
from rollproof.verdict.model import Finding

ROUTINGS = {
    "cookies": "requests go to any healthy instance",
    "exclusive": "an instance has one request at a time and is frozen between two; the next goes to any idle one",
    "by_session_header": "a session has an instance of its own, found by Mcp-Session-Id, also while that drains",
}


def platform(story: Story) -> Finding | None:
    """Nothing on Fargate. The profile's settings stand among the what-ifs, each with its source."""
    rollout, settings = story.rollout, story.history.settings
    profile = PLATFORMS.get(rollout.platform)
    if rollout.is_on_ecs or profile is None:
        return None
    routing = ROUTINGS.get(str(settings.get("platform.routing")), "")
    left_out = f" Left out: {'; '.join(profile.left_out)}." if profile.left_out else ""
    return Finding(
        "platform",
        f"Platform {rollout.platform}",
        f"{routing[:1].upper()}{routing[1:]}. ECS's scheduler starts and ends the instances; its timings are not this "
        f"platform's, and are not compared.{left_out} See docs/platforms.md.",
    )
