"""Two stories side by side: each dimension's difference is found, and what is only a race is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rollproof.verdict import Outcome, judge
from rollproof.verdict.comparison import compare_runs
from rollproof.verdict.comparison_model import Comparison, DifferenceKind
from rollproof.verdict.records import read
from tests.verdict import stories
from tests.verdict.stories import ANNA, BERT, CARL, DORA, NEW_DEPLOYMENT, OLD_DEPLOYMENT, READ, TARGETS, WRITE, Tale

OTHER_NAMES = {ANNA: "e5" * 16, BERT: "f6" * 16, CARL: "07" * 16, DORA: "18" * 16}
OTHER_ADDRESSES = {address: address.replace("4", "9") for address in TARGETS.values()}
OTHER_DEPLOYMENTS = {OLD_DEPLOYMENT: "ecs-svc/8000000000000000001", NEW_DEPLOYMENT: "ecs-svc/9000000000000000002"}

FAULT = 30.0  # when ANNA's process dies in stories.crashed


def compared(a: Tale | list[dict[str, Any]], b: Tale | list[dict[str, Any]]) -> Comparison:
    told = [tale.records if isinstance(tale, Tale) else tale for tale in (a, b)]
    return compare_runs(read(told[0]), judge(told[0]), read(told[1]), judge(told[1]))


def texts(comparison: Comparison) -> list[str]:
    return [f"{difference.kind}: {difference.text}" for difference in comparison.differences]


def renamed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same run of another seed on another machine."""
    names = OTHER_NAMES | OTHER_ADDRESSES | OTHER_DEPLOYMENTS

    def other(value: Any) -> Any:
        if isinstance(value, str):
            for old, new in names.items():
                value = value.replace(old, new)
        return value

    return [{key: other(value) for key, value in record.items()} for record in records]


def served(tale: Tale, after: float = 130.0) -> Tale:
    """Two sessions that survive it."""
    for session, old, new in (("s1", ANNA, CARL), ("s2", BERT, DORA)):
        tale.talk(session, 5.0, after - 5.0, old).talk(session, after, after + 50.0, new, first=25)
    return tale


# --- the same ------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", ["survived", "lost_at_drain", "crashed", "rolled_back"])
def test_a_run_is_the_same_as_itself_under_other_names(story: str) -> None:
    records = getattr(stories, story)().records
    found = compared(records, renamed(records))
    assert (texts(found), found.unproved, found.outcome) == ([], "", Outcome.PASS)
    assert found.offsets
    assert found.is_same


def test_a_run_that_ends_while_something_still_drains_is_the_same() -> None:
    still_draining, gone = stories.crashed(), stories.crashed().target(ANNA, 58.0, "unused")
    assert texts(compared(gone, still_draining)) == []
    never_drained = [record for record in gone.records if record.get("state") not in ("draining", "unused")]
    assert texts(compared(gone, never_drained)) != []


def test_another_speed_is_no_difference() -> None:
    slow, fast = Tale().replaced(), Tale(speed=10).replaced()
    found = compared(served(slow), fast.talk("s1", 5.0, 30.0, ANNA).talk("s1", 35.0, 60.0, CARL, first=6))
    assert texts(found) == []
    assert {round(offset.difference_s, 3) for offset in found.offsets if offset.unit == "AWS s"} == {0.0}


def test_the_offsets_are_those_of_events_and_of_steps() -> None:
    found = compared(stories.survived(), stories.survived())
    told = {(o.name, o.after): (round(o.a_s[0], 3), round(o.allowed_s, 1), o.is_event) for o in found.offsets}
    assert told["has started tasks: (new task).", "disruption"] == (14.0, 11.0, True)
    assert told["has reached a steady state.", "(new deployment) deployment completed."] == (0.001, 11.0, True)
    assert told["stop decided", "registered"] == (50.0, 26.0, False)  # a tick, a reaction, a server's start, a check
    assert told["SIGTERM", "target unused"] == (5.5, 11.0, False)
    assert told["exited", "SIGTERM"] == (1.0, 16.0, False)


# --- a race is no difference ---------------------------------------------------------------------


def test_two_tasks_in_two_passes_are_two_tasks_in_one() -> None:
    together, apart = served(Tale().replaced()), Tale().settings().warmed_up().triggered()
    at = apart.when("started")
    apart.started(CARL, DORA)
    apart.records = [r for r in apart.records if "has started" not in r.get("message", "")]
    apart.event(at, f"has started 1 tasks: (task {DORA}).").event(at + 9.0, f"has started 1 tasks: (task {CARL}).")
    served(apart.drained(ANNA, BERT).completed())
    assert texts(compared(together, apart)) == []


def crashed_with(started: float, draining: float) -> Tale:
    """A crash after which the replacement's start and the victim's draining are told at these seconds."""
    tale = stories.crashed()
    tale.event(FAULT + draining, "has begun draining connections on 1 tasks.")
    return tale.event(FAULT + started, f"has started 1 tasks: (task {CARL}).")


def test_events_of_independent_clocks_may_swap_within_a_tick() -> None:
    assert texts(compared(crashed_with(4.0, 8.0), crashed_with(9.0, 5.0))) == []


def test_events_of_independent_clocks_that_swap_by_more_are_a_difference() -> None:
    found = compared(crashed_with(1.0, 12.0), crashed_with(12.0, 1.0))
    assert any("comes 11.0 AWS s after" in text and "11.0 before it in B" in text for text in texts(found))


def test_which_sessions_the_crash_met_is_shown_and_not_judged() -> None:
    calm, met = stories.crashed(), stories.crashed()
    met.call("s9", 1, WRITE, 19.0, BERT).call("s9", 2, WRITE, 25.0, ok=False, http_status=502)
    met.call("s9", 2, WRITE, 30.0, BERT).call("s9", 3, READ, 31.0, BERT)
    found = compared(calm, met)
    assert texts(found) == []
    assert found.a.sessions != found.b.sessions
    assert found.a.signatures != found.b.signatures or found.a.sessions != found.b.sessions


def test_how_many_tasks_failed_before_the_breaker_opened_is_chance() -> None:
    three, four = stories.rolled_back("rollback"), stories.rolled_back("rollback")
    for tale, tasks in ((three, (DORA,)), (four, (DORA, "99" * 16))):
        for task in tasks:
            for t, known in ((40.0, "PROVISIONING"), (86.0, "STOPPED")):
                code = {"exit_code": 1} if known == "STOPPED" else {}
                tale.add("task", t, task_id=task, known=known, desired="RUNNING", deployment=NEW_DEPLOYMENT, **code)
    assert texts(compared(three, four)) == []


def test_how_far_a_task_had_come_when_the_breaker_opened_is_chance() -> None:
    early, late = stories.rolled_back("rollback"), stories.rolled_back("rollback")
    for tale, states in ((early, ("PROVISIONING",)), (late, ("PROVISIONING", "PENDING", "ACTIVATING"))):
        for t, known in zip((88.0, 88.5, 89.0), states, strict=False):
            tale.task(DORA, t, known, deployment=NEW_DEPLOYMENT)
        tale.task(DORA, 91.0, "DEPROVISIONING", "STOPPED", deployment=NEW_DEPLOYMENT)
    found = compared(early, late)
    assert texts(found) == []
    assert found.a.story.tasks["task cut short"] != found.b.story.tasks["task cut short"]


def exits_at_start(registered: bool, reason: str = "") -> Tale:
    """A deployment whose process exits; `registered`: one lived until the pass that registers it."""
    tale = stories.rolled_back("rollback")
    if registered:
        tale.target(CARL, 85.9, "initial").event(85.9, "registered 1 targets in (target-group arn:x)")
        tale.event(87.0, "deregistered 1 targets in (target-group arn:x)").target(CARL, 87.1, "draining")
        tale.add(
            "service_event",
            88.0,
            message=f"(service mcp, taskSet {NEW_DEPLOYMENT}) has begun draining connections on 1 tasks.",
        )
        tale.task(DORA, 85.0, "ACTIVATING", deployment=NEW_DEPLOYMENT)
        tale.task(DORA, 90.0, "DEACTIVATING", "STOPPED", deployment=NEW_DEPLOYMENT)
        tale.event(90.0, f"has stopped 1 running tasks: (task {DORA}).")
        tale.task(DORA, 90.1, "DEPROVISIONING", "STOPPED", deployment=NEW_DEPLOYMENT, exit_code=1)
    tale.task(CARL, 86.5, "STOPPED", "STOPPED", deployment=NEW_DEPLOYMENT, stopped_reason=reason)
    return tale


def test_whether_a_process_that_exits_at_its_start_was_registered_is_chance() -> None:
    assert texts(compared(exits_at_start(registered=True), exits_at_start(registered=False))) == []
    assert texts(compared(exits_at_start(registered=False), exits_at_start(registered=True))) == []


def test_tasks_that_failed_their_checks_were_registered_for_sure() -> None:
    reason = "Task failed container health checks"
    found = texts(compared(exits_at_start(registered=True, reason=reason), exits_at_start(registered=False)))
    assert 'service events: only in A: "registered targets in (target-group)"' in found


def test_how_the_lost_sessions_of_a_crash_failed_first_is_chance() -> None:
    bad_gateway, broken = stories.crashed(), stories.crashed()
    for tale, status in ((bad_gateway, 502), (broken, None)):
        tale.call("s9", 1, WRITE, 19.0, ANNA).call("s9", 2, WRITE, 30.5, ok=False, http_status=status, error="gone")
        tale.not_found("s9", 3, READ, 50.0, BERT).not_found("s9", 4, READ, 70.0, BERT)
    found = compared(bad_gateway, broken)
    assert texts(found) == []
    assert (found.a.lost, found.b.lost) == (1, 1)
    assert found.a.lost_signatures != found.b.lost_signatures


def test_how_many_sessions_sat_on_the_task_that_crashed_is_chance() -> None:
    some, more = stories.crashed(), stories.crashed()
    for tale, sessions in ((some, ["s8"]), (more, ["s8", "s9"])):
        for session in sessions:
            tale.call(session, 1, WRITE, 19.0, ANNA).not_found(session, 2, READ, 50.0, BERT)
    found = compared(some, more)
    assert (found.a.lost, found.b.lost) == (1, 2)
    assert texts(found) == []
    assert texts(compared(stories.crashed(), more)) != []


def test_a_crash_may_be_seen_before_it_is_written_down() -> None:
    seen = stories.crashed()
    for record in seen.records:
        if record["kind"] == "fault":
            record["t"] += 0.1
    assert [text for text in texts(compared(stories.crashed(), seen)) if "task states" in text] == []


@pytest.mark.parametrize(("speed", "is_same"), [(10, True), (1, False)])
def test_a_server_that_is_slow_to_start_fails_its_first_checks(speed: int, is_same: bool) -> None:
    """At speed 10 three checks take less than a server may need to start; at AWS's own pace they show a bad start."""
    quick, slow = (Tale(speed).replaced().talk("s1", 5.0, 30.0, ANNA) for _ in range(2))
    for record in slow.records:
        if (record["kind"], record.get("task_id"), record.get("state")) == ("target", CARL, "healthy"):
            record["t"] = slow.when("healthy") + 38.0 / speed
    slow.target(CARL, slow.when("healthy") + 28.0 / speed, "unhealthy")
    found = [difference.text for difference in compared(quick, slow).of(DifferenceKind.TARGETS)]
    assert (found == []) is is_same


def test_a_state_that_comes_just_before_or_just_after_the_steady_state() -> None:
    before, after = served(Tale().replaced(), 175.0), served(Tale().replaced(), 175.0)
    before.target(CARL, before.when("steady") - 0.5, "unhealthy")
    after.target(CARL, after.when("steady") + 0.5, "unhealthy")
    for tale in (before, after):
        tale.mark(240.0, "probe-ended")
    assert [text for text in texts(compared(before, after)) if "target states" in text] == []


# --- a difference is found -----------------------------------------------------------------------


def test_another_verdict_is_a_difference() -> None:
    found = compared(stories.survived(), stories.lost_at_drain())
    assert found.outcome is Outcome.FAIL
    assert texts(found)[:2] == ["verdict: pass in A, fail in B", f"verdict: 0 sessions lost in A, {found.b.lost} in B"]
    assert found.differences[0].t_a is None
    assert found.differences[0].t_b is not None


def test_lost_sessions_that_met_something_else_are_a_difference() -> None:
    a, b = stories.lost_at_drain(), stories.lost_at_drain()
    for record in b.records:
        if record.get("http_status") == 404:
            record |= {"http_status": 503, "rpc_error": None, "error": "Service Unavailable"}
    assert "lost sessions first met 404 / -32600 Session not found in A, 503 /" in " ".join(texts(compared(a, b)))


def test_a_rule_of_aws_that_only_one_run_broke_is_a_difference() -> None:
    kept, broken = stories.survived(), Tale().settings().warmed_up().triggered().started(CARL, DORA)
    served(broken.drained(ANNA, BERT, unused=120.0, sigterm=110.0).completed())
    found = texts(compared(kept, broken))
    assert "verdict: pass in A, fail in B" in found
    assert "verdict: check sigterm-after-drain: pass in A, fail in B" in found


def without_event(tale: Tale) -> None:
    tale.records = [r for r in tale.records if "has begun draining" not in r.get("message", "")]


def with_more_tasks(tale: Tale) -> None:
    for record in tale.records:
        if "has started" in record.get("message", ""):
            record["message"] = record["message"].replace("has started 2", "has started 3")


def with_a_task_never_running(tale: Tale) -> None:
    tale.records = [r for r in tale.records if (r.get("task_id"), r.get("known")) != (CARL, "RUNNING")]


def with_a_target_that_flapped(tale: Tale) -> None:
    tale.target(DORA, tale.when("decided"), "unhealthy").target(DORA, tale.when("decided") + 5, "healthy")


def with_another_deployment_state(tale: Tale) -> None:
    tale.deployment(tale.when("completed"), OLD_DEPLOYMENT, "INACTIVE", "COMPLETED")


def with_a_late_event(tale: Tale) -> None:
    for record in tale.records:
        if "has started" in record.get("message", ""):
            record["t"] += 12.0


def with_a_kill(tale: Tale) -> None:
    tale.task(ANNA, tale.when("exited") - 0.1, "STOPPING", "STOPPED", signal="SIGKILL")


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (without_event, DifferenceKind.EVENTS, 'only in A: "has begun draining connections on tasks."'),
        (with_more_tasks, DifferenceKind.EVENTS, '"has started tasks: (new task)." names 2 in A, 3 in B'),
        (with_a_task_never_running, DifferenceKind.TASKS, "only in B: new task PROVISIONING > ACTIVATING"),
        (with_a_target_that_flapped, DifferenceKind.TARGETS, "new task initial > healthy > unhealthy > healthy"),
        (with_another_deployment_state, DifferenceKind.DEPLOYMENTS, "old deployment PRIMARY COMPLETED > ACTIVE"),
        (with_a_late_event, DifferenceKind.OFFSETS, "12.0 AWS s apart, 11.0 allowed"),
        (with_a_kill, DifferenceKind.TASKS, 'the step "SIGKILL" is only in B'),
    ],
)
def test_a_change_of_one_dimension_is_found(change: Callable[[Tale], None], kind: DifferenceKind, says: str) -> None:
    told, changed = stories.survived(), stories.survived()
    change(changed)
    changed.records.sort(key=lambda record: record["t"])
    found = compared(told, changed)
    assert [difference.text for difference in found.of(kind) if says in difference.text], texts(found)
    where = found.of(kind)[0]
    assert where.t_a is not None or where.t_b is not None


def test_what_follows_from_an_event_never_comes_before_it_be_it_within_a_tick() -> None:
    usual, turned = stories.survived(), stories.survived()
    usual.event(usual.when("started") + 0.5, "registered 2 targets in (target-group arn:aws:x/y/1)")
    turned.event(turned.when("started") - 0.5, "registered 2 targets in (target-group arn:aws:x/y/2)")
    found = compared(usual, turned)
    assert texts(found) == [
        'service events: "registered targets in (target-group)" comes 0.5 AWS s after'
        ' "has started tasks: (new task)." in A, 0.5 before it in B',
    ]


def test_settings_that_differ_are_named_in_aws_seconds_and_no_secret_with_them() -> None:
    """What was merely scaled is shared; a floor, a what-if and the environment are not."""
    slow, fast = (
        Tale(speed).replaced().add("setting", 0.1, name="service.health_check_grace_period_s", value=grace)
        for speed, grace in ((1, 60.0), (10, 10.0))
    )
    for tale, token, delay in ((slow, "old", 1.0), (fast, "new", 1.0)):
        tale.add("setting", 0.1, name="task_definition.environment.TOKEN", value=token)
        tale.add("setting", 0.1, name="unscaled", value="stop_timeout_s, idle_timeout_s")
        tale.add("setting", 0.1, name="probe.delay_s", value=delay).add(
            "setting", 0.1, name="probe.endpoint", value=token
        )
    fast.add("setting", 0.1, name="service.desired_count", value=4)
    found = compared(slow, fast)
    assert [(setting.name, setting.a, setting.b) for setting in found.settings] == [
        ("service.desired_count", 2, 4),
        ("service.health_check_grace_period_s", 60.0, 100.0),
        ("task_definition.environment.TOKEN", "(set)", "(set)"),
    ]


# --- nothing to compare --------------------------------------------------------------------------


def test_a_run_without_a_disruption_proves_nothing() -> None:
    idle = Tale().settings().warmed_up().talk("s1", 5.0, 60.0, ANNA)
    found = compared(stories.survived(), idle)
    assert (found.unproved, found.outcome) == ("nothing was done to the service in B", Outcome.UNKNOWN)


def test_a_run_that_replaced_nothing_proves_nothing() -> None:
    found = compared(Tale().settings().warmed_up().triggered().talk("s1", 5.0, 60.0, ANNA), stories.survived())
    assert (found.unproved, found.is_same) == ("nothing was replaced in A", False)


def test_no_records_at_all_are_compared_without_an_error() -> None:
    assert compared([], [{"t": "x"}]).outcome is Outcome.UNKNOWN
