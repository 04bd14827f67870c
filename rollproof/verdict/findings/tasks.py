"""What became of the tasks that were to take over."""

from __future__ import annotations

from rollproof.verdict.findings.story import Story
from rollproof.verdict.model import Evidence, Finding
from rollproof.verdict.words import count, short, some, spread


def slow_start(story: Story) -> Finding | None:
    """New targets that failed their health checks before they passed one: the server starts slower than it is asked.

    A run at a speed above 1 divides the interval of the health checks, and not the server's start.
    """
    slow = [
        (life, life.unhealthy_at)
        for life in story.rollout.new
        if life.unhealthy_at is not None and (life.healthy_at is None or life.unhealthy_at < life.healthy_at)
    ]
    if not slow:
        return None
    gone = [life for life, _ in slow if life.decided_at is not None]
    came = [life.healthy_at - life.registered_at for life, _ in slow if life.healthy_at and life.registered_at]
    needed = f" They were healthy {spread(came)} (real) after registration." if came else ""
    lost = f" {count(len(gone), 'task')} stopped for it: {some(short(life.task_id) for life in gone)}." if gone else ""
    speed = story.history.speed
    scaled = (
        f" At speed {speed:g} health checks come {speed:g} times as often while the server starts at its own pace:"
        " a lower speed shows the rollout that AWS would make."
        if speed > 1
        else " A health-check grace period (healthCheckGracePeriodSeconds) keeps ECS from stopping a task that is still"
        " starting."
    )
    return Finding(
        "slow-start",
        "New tasks failed health checks before they were up",
        f"{count(len(slow), 'new target')} of {len(story.rollout.new)} turned unhealthy before the first healthy"
        f" answer.{needed}{lost}{scaled}",
        tuple(Evidence(t, "target", note=life.target_id) for life, t in slow),
    )
