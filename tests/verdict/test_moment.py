"""What broke first, and what stood beside it."""

from __future__ import annotations

from rollproof.verdict import judge
from tests.verdict.stories import ANNA, READ, WRITE, Tale, crashed, lost_at_drain, survived


def lines(tale: Tale) -> list[str]:
    return [f"{'>' if line.is_break else ' '} {line.t:.1f} {line.text}" for line in judge(tale.records).around_break]


def test_the_moment_of_a_loss_as_a_story() -> None:
    assert lines(lost_at_drain()) == [
        "  114.5 target 127.0.0.1:4001 (task a1a1a1a1) draining",
        "  124.0 s1 call 24 set_session_value answered on task a1a1a1a1",
        "  125.0 node-0 sees target 127.0.0.1:4001 as draining",
        "  125.0 node-0 sees target 127.0.0.1:4002 as draining",
        "  128.0 node-1 sees target 127.0.0.1:4001 as draining",
        "  128.0 node-1 sees target 127.0.0.1:4002 as draining",
        "> 129.1 s1 call 24 get_session_state FAILED: 404 / -32600 Session not found",
        "  131.0 s1 call 25 set_session_value failed: 404 / -32600 Session not found"
        " (+1 more call alike, to t=132.0 s)",
    ]


def test_every_kind_of_record_within_the_window_is_told() -> None:
    tale = Tale().settings().warmed_up().mark(20.0, "deployment-triggered").not_found("s1", 1, READ, 50.0)
    tale.event(48.0, "has stopped 1 running tasks.").mark(48.1, "steady").add(
        "fault", 48.2, name="stop-task", target=ANNA
    )
    tale.add("alarm", 48.3, name="5xx", state="ALARM").deployment(48.4, "ecs-svc/1", "ACTIVE", "")
    tale.target(ANNA, 48.5, "draining", reason="Target.DeregistrationInProgress").target(ANNA, 48.6, "unused", cut=1)
    tale.task(ANNA, 48.7, "STOPPING", signal="SIGTERM", stopped_reason="not told beside a signal")
    tale.task(ANNA, 48.8, "STOPPED", exit_code=143, stopped_reason="Scaling activity").task(ANNA, 48.9, "", exit_code=1)
    tale.add("session", 49.0, session="s2", event="stream_ended", task_id=ANNA, reason="connection-closed")
    tale.add("session", 49.1, session="s2", event="reinitialised").add("session", 49.2, session="s2", event="opened")
    tale.add("target", 49.3, target_id="10.0.0.1:80", state="initial").add(
        "call", 49.4, session="s3", tool="ping", ok=False
    )
    tale.not_found("s2", 1, WRITE, 56.0)
    tale.records = [r for r in tale.records if r["kind"] != "call" or r["session"] != "s3"]
    assert lines(tale) == [
        "  48.0 (service mcp) has stopped 1 running tasks.",
        "  48.1 the play: steady",
        "  48.2 fault: stop-task a1a1a1a1",
        "  48.3 alarm 5xx: ALARM",
        "  48.4 deployment ecs-svc/1 ACTIVE",
        "  48.5 target 127.0.0.1:4001 (task a1a1a1a1) draining, Target.DeregistrationInProgress",
        "  48.6 target 127.0.0.1:4001 (task a1a1a1a1) unused, 1 connection cut",
        "  48.7 task a1a1a1a1 was sent SIGTERM",
        "  48.8 task a1a1a1a1 STOPPED, exit code 143, Scaling activity",
        "  48.9 task a1a1a1a1 changed, exit code 1",
        "  49.0 s2 stream ended on task a1a1a1a1: connection-closed",
        "  49.1 s2 reinitialised",
        "  49.3 target 10.0.0.1:80 initial",
        "> 50.0 s1 call 1 get_session_state FAILED: 404 / -32600 Session not found",
    ]


def test_a_call_without_a_number_and_a_task_is_told_without_them() -> None:
    tale = Tale().settings().warmed_up().mark(20.0, "deployment-triggered")
    tale.add("call", 49.0, session="s1", tool="ping", ok=True).add("call", 50.0, session="s1", tool="ping", ok=False)
    assert lines(tale) == ["  49.0 s1 ping answered", "> 50.0 s1 ping FAILED: no answer"]


def test_failures_of_the_warm_up_are_not_what_broke_first() -> None:
    tale = lost_at_drain().not_found("s3", 1, READ, 10.0).call("s3", 2, READ, 12.0, ANNA)
    assert "> 129.1 s1 call 24 get_session_state FAILED: 404 / -32600 Session not found" in lines(tale)


def test_unless_nothing_else_broke() -> None:
    tale = survived().not_found("s3", 1, READ, 10.0).call("s3", 2, READ, 12.0, ANNA)
    assert lines(tale) == [
        "> 10.0 s3 call 1 get_session_state FAILED: 404 / -32600 Session not found",
        "  15.0 the play: warmed-up",
    ]


def test_nothing_broke() -> None:
    assert lines(survived()) == []


def test_a_crowded_moment_keeps_the_lines_nearest_to_the_break() -> None:
    tale = crashed()
    for number in range(200):
        tale.event(30.2 + (number - 100) / 25, f"event {number}")
    told = lines(tale)
    assert len(told) == 40
    assert "> 30.2 s1 call 6 set_session_value FAILED: 502 / Bad Gateway" in told


def test_records_that_say_nothing_new_are_left_out_and_long_names_are_cut() -> None:
    arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/mcp/8c0ce9962a8fd4f3"
    tale = Tale().settings().warmed_up().mark(20.0, "deployment-triggered").not_found("s1", 1, READ, 50.0)
    tale.event(48.0, f"deregistered 1 targets in (target-group {arn})").event(48.1, f"has stopped (task {ANNA}).")
    for t in (48.2, 48.3):
        tale.deployment(t, "ecs-svc/1", "ACTIVE", "COMPLETED", running=int(t * 10))
        tale.task(ANNA, t, "DEACTIVATING", "STOPPED").target(ANNA, t, "draining", reason=f"at {t}")
    tale.task(ANNA, 48.4, "STOPPING", signal="SIGTERM").task(ANNA, 48.4, "STOPPING", stop_code="x")
    assert lines(tale)[:-1] == [
        "  48.0 (service mcp) deregistered 1 targets in (target-group mcp)",
        "  48.1 (service mcp) has stopped (task a1a1a1a1).",
        "  48.2 deployment ecs-svc/1 ACTIVE COMPLETED",
        "  48.2 target 127.0.0.1:4001 (task a1a1a1a1) draining, at 48.2",
        "  48.2 task a1a1a1a1 DEACTIVATING",
        "  48.4 task a1a1a1a1 was sent SIGTERM",
    ]
