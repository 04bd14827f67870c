"""One run's story as text: roles for ids, ECS's words without numbers, states up to the steady state."""

from __future__ import annotations

import pytest

from rollproof.core import messages
from rollproof.verdict.records import read
from rollproof.verdict.rollout import read_rollout
from rollproof.verdict.run_story import RunStory, run_story
from tests.verdict import stories
from tests.verdict.stories import ANNA, BERT, CARL, NEW_DEPLOYMENT, OLD_DEPLOYMENT, T0, TARGETS, Tale

ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/mcp/0123456789abcdef"


def story_of(tale: Tale) -> RunStory:
    history = read(tale.records)
    return run_story(history, read_rollout(history))


def told(story: RunStory) -> list[str]:
    paths = [
        f"{kind} {role}: {' > '.join(path.states)}"
        for kind, by_role in (("task", story.tasks), ("target", story.targets), ("deployment", story.deployments))
        for role, group in by_role.items()
        for path in dict.fromkeys(group)
    ]
    return [*(f"{beat.text} ({beat.count})" for beat in story.beats), *paths]


def test_a_rollout_is_told_by_roles() -> None:
    assert told(story_of(Tale().replaced())) == [
        "has started tasks: (new task). (2)",
        "has begun draining connections on tasks. (2)",
        "(new deployment) deployment completed. (0)",
        "has reached a steady state. (0)",
        "task new task: PROVISIONING > ACTIVATING > RUNNING",
        "task old task: RUNNING > DEACTIVATING > STOPPING > DEPROVISIONING > STOPPED",
        "target new task: initial > healthy",
        "target old task: healthy > draining > unused",
        "deployment new deployment: PRIMARY IN_PROGRESS > PRIMARY COMPLETED",
        "deployment old deployment: PRIMARY COMPLETED > ACTIVE COMPLETED",
    ]


def test_a_crash_has_an_old_task_that_stays_and_one_that_goes() -> None:
    assert told(story_of(stories.crashed())) == [
        "has reached a steady state. (0)",
        "task old task: RUNNING",
        "task old task: RUNNING > DEPROVISIONING",
        "target old task: healthy",
        "target old task: healthy > unhealthy > draining",
        "deployment old deployment: PRIMARY COMPLETED",
    ]


def test_a_rollback_tells_failed_tasks_apart() -> None:
    lines = told(story_of(stories.rolled_back()))
    assert "rolling back to old deployment. (0)" in lines
    assert "task failed task: PROVISIONING > STOPPED" in lines


@pytest.mark.parametrize(
    ("message", "text", "count"),
    [
        (messages.started("s", [CARL]), "has started tasks: (new task).", 1),
        (messages.stopped("s", [ANNA, BERT]), "has stopped running tasks: (old task).", 2),
        (messages.stopped("s", [ANNA, CARL]), "has stopped running tasks: (new task) (old task).", 2),
        (messages.stopped("s", ["77" * 16]), "has stopped running tasks: (unknown task).", 1),
        (
            messages.started_for_unhealthy("s", [CARL]),
            "has started tasks: (new task). Amazon ECS replaced tasks due to an unhealthy status.",
            1,
        ),
        (messages.stopped_pending("s", 3), "stopped pending tasks.", 3),
        (messages.registered("s", 2, ARN), "registered targets in (target-group)", 2),
        (messages.deregistered("s", 1, ARN), "deregistered targets in (target-group)", 1),
        (
            messages.draining("s", OLD_DEPLOYMENT, 1),
            "(taskSet old deployment) has begun draining connections on tasks.",
            1,
        ),
        (
            messages.unhealthy_target("s", CARL, 8000, ARN, "Health checks failed"),
            "(new task) is unhealthy in (target-group) due to (reason Health checks failed).",
            0,
        ),
        (messages.unhealthy_container("s", ANNA), "(old task) failed container health checks.", 0),
        (messages.completed("s", NEW_DEPLOYMENT), "(new deployment) deployment completed.", 0),
        (messages.failed("s", NEW_DEPLOYMENT), "(new deployment) deployment failed: tasks failed to start.", 0),
        (messages.rolling_back("s", OLD_DEPLOYMENT), "rolling back to old deployment.", 0),
        (messages.steady("s"), "has reached a steady state.", 0),
    ],
)
def test_every_message_of_ecs_keeps_its_words(message: str, text: str, count: int) -> None:
    tale = Tale().replaced().add("service_event", T0 + 100.0, message=message)
    beats = {beat.text: beat for beat in story_of(tale).beats}
    assert text in beats
    usual = story_of(Tale().replaced()).beat(text)
    assert beats[text].count - (usual.count if usual else 0) == count


def test_events_before_the_disruption_and_after_the_steady_state_are_no_part_of_it() -> None:
    tale = Tale().replaced().event(T0 - 1.0, "says something early.").event(T0 + 170.0, "says something late.")
    assert told(story_of(tale)) == told(story_of(Tale().replaced()))


def test_a_stage_that_was_never_disturbed_has_no_story() -> None:
    assert story_of(Tale().settings().warmed_up()) == RunStory()


def test_the_story_of_a_stopped_task_goes_on_until_it_is_gone() -> None:
    """ECS says "steady state" while it still drains; the play's own mark comes later."""
    tale = stories.crashed().target(ANNA, 70.0, "unused").task(ANNA, 71.0, "STOPPED", "STOPPED").mark(72.0, "steady")
    assert "task old task: RUNNING > DEPROVISIONING > STOPPED" in told(story_of(tale))
    assert "target old task: healthy > unhealthy > draining > unused" in told(story_of(tale))


def test_an_address_used_again_belongs_to_its_latest_task() -> None:
    """A load balancer's own record of a target may name no task; the port of one that has gone is handed out again."""
    tale, again = stories.crashed(), "e5" * 16
    for t, known in ((50.0, "PROVISIONING"), (55.0, "RUNNING")):
        tale.add("task", t, task_id=again, known=known, address=TARGETS[ANNA], deployment=OLD_DEPLOYMENT)
    tale.add("target", 56.0, target_id=TARGETS[ANNA], state="healthy")
    tale.add("target", 57.0, target_id="127.0.0.1:9", state="healthy")
    lines = told(story_of(tale))
    assert "target replacement: healthy" in lines
    assert "target unknown task: healthy" in lines


def test_what_was_gone_before_the_disruption_has_no_path() -> None:
    tale = stories.crashed().task(CARL, 3.0, "RUNNING").task(CARL, 10.0, "STOPPED", "STOPPED")
    assert told(story_of(tale)) == told(story_of(stories.crashed()))
