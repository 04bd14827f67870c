"""Whole rehearsals of the command line: who survives which disruption, and what the report says of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollproof.probe.answer import STREAM_ENDED
from tests.e2e.place import Done
from tests.orchestrator.test_nginx_balancer import NEEDS_NGINX

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
Rehearsed = Callable[[str], Done]


class TestSampleAsDeployed:
    def test_every_session_survives_the_replacement_of_every_task(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("sample")
        summary = done.summary
        assert done.exit_code == 0, done.out
        assert done.out.startswith("PASS")
        assert summary["session_counts"] == {"survived": 20, "degraded": 0, "lost": 0}
        assert summary["error_rows"] == 0
        first = {x["task_id"] for x in done.records("task", known="PROVISIONING")[:2]}
        assert set(summary["replaced_tasks"]) == first

    def test_no_call_was_failed_or_dropped_by_the_balancer(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("sample")
        assert {x["elb_status_code"] for x in done.records("request")} <= {"200", "202", "405"}
        assert all(x["ok"] for x in done.records("call"))

    def test_the_report_names_the_redis_and_the_what_if(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("sample")
        assert done.records("setting", name="redis")[0]["value"].startswith(("redis-server ", "Valkey "))
        assert "target_group.deregistration_delay_s" in done.out

    def test_piped_output_has_no_escape_codes(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("sample")
        assert "\x1b" not in done.out + done.err


class TestBothErasWithAllActivities:
    def test_both_halves_are_judged_and_told(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("activities")
        assert done.exit_code == 1, done.out
        assert {era: counts["lost"] for era, counts in done.summary["session_counts_by_era"].items()} == {
            "legacy": 4,
            "modern": 4,
        }
        assert "  legacy: 0 survived, 0 degraded, 4 lost" in done.out

    def test_what_worked_before_and_broke_is_found(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("activities")
        states = {(x["activity"], x["era"]): x["state"] for x in done.summary["activities"]}
        assert states["resume", "legacy"] == states["stream", "modern"] == "unsupported"
        assert states["delete", "legacy"] == "ok"  # with sessions of its own, it needs none of before
        assert ("stream", "legacy") in states
        broken = {activity for (activity, era), state in states.items() if state == "failed in the rollout"}
        assert broken & {"elicitation", "sampling", "roots", "progress", "stream"}
        assert "Session not found" in done.finding("broken-activities")
        assert "Activities: what sessions do besides calling tools" in done.out


class TestResilientSessionsWithoutStickiness:
    """Every request of a session may reach another task: rollproof.sessions serves it there."""

    def test_a_rollout_takes_nothing_from_any_session_of_either_era(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("resilient")
        assert done.exit_code == 0, done.out
        counts = done.summary["session_counts_by_era"]
        assert {era: (counts[era]["survived"], counts[era]["lost"]) for era in counts} == {
            "legacy": (10, 0),
            "modern": (10, 0),
        }
        assert not done.records("session", event="reinitialised")
        assert len(done.summary["unique_task_ids"]) == 4

    def test_every_activity_that_the_protocol_has_goes_on(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("resilient")
        states = {(x["activity"], x["era"]): x["state"] for x in done.summary["activities"]}
        works = {key for key, state in states.items() if state == "ok"}
        both = {"elicitation", "sampling", "roots", "progress"}
        assert works == {(each, era) for each in both for era in ("legacy", "modern")} | {
            (each, "legacy") for each in ("stream", "resume", "delete")
        }

    def test_a_killed_task_takes_its_own_calls_with_it_and_no_session(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("resilient-crash")
        assert done.summary["session_counts"]["lost"] == 0
        assert not done.records("session", event="reinitialised")
        (killed,) = done.records("fault")
        failed = [x for x in done.records("call") if not x["ok"] and not x.get("activity")]
        # Cut with its connection, refused by the load balancer, or taken up elsewhere and told there.
        explicit = ("502", "stream-ended-without-response", "connection-closed", "200/-32000 the replica that served")
        assert all(x["signature"].startswith(explicit) for x in failed)
        assert all(killed["t"] - 5 <= x["t"] <= killed["t"] + 30 for x in failed)


@NEEDS_NGINX
class TestBehindNginx:
    def test_every_session_survives_just_the_same(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("nginx")
        assert done.exit_code == 0, done.out
        assert done.out.startswith("PASS")
        assert done.summary["session_counts"] == {"survived": 8, "degraded": 0, "lost": 0}
        assert {x["elb_status_code"] for x in done.records("request")} <= {"200", "202", "405"}
        assert {x["outcome"] for x in done.summary["checks"]} <= {"pass", "unknown"}

    def test_the_history_says_which_it_was(self, rehearsed: Rehearsed) -> None:
        assert rehearsed("nginx").records("setting", name="balancer")[0]["value"].startswith("nginx 1.")
        assert rehearsed("sample").records("setting", name="balancer")[0]["value"] == "embedded"


@pytest.mark.parametrize("strategy", ["memory", "redis-state", pytest.param("nginx-memory", marks=NEEDS_NGINX)])
class TestSessionsInTheTransport:
    def test_every_session_of_a_replaced_task_is_lost(self, rehearsed: Rehearsed, strategy: str) -> None:
        done = rehearsed(strategy)
        assert done.exit_code == 1, done.out
        assert done.out.startswith("FAIL")
        assert done.summary["session_counts"] == {"survived": 0, "degraded": 0, "lost": 8}
        for session in done.summary["sessions"]:
            assert session["first_failure"]["signature"] == "404/-32600 Session not found"
            assert session["session_not_found_count"] > 0

    def test_the_first_split_pair_is_named(self, rehearsed: Rehearsed, strategy: str) -> None:
        done = rehearsed(strategy)
        text = done.finding("atomic-failure")
        session = text.partition(",")[0]
        assert session in {x["session"] for x in done.records("call")}
        assert "get_session_state" in text
        assert text.split(". ")[0].split(":")[0] in done.out.replace("\n    ", " ")

    def test_the_dashboard_stays_green(self, rehearsed: Rehearsed, strategy: str) -> None:
        done = rehearsed(strategy)
        assert "0 ALB or target 5xx" in done.finding("green-dashboard")
        assert not [x for x in done.records("request") if x["elb_status_code"] >= "500"]


@pytest.mark.parametrize(
    ("disruption", "why"), [("bad-image", "Task failed ELB health checks"), ("crashing-image", "Essential container")]
)
class TestCircuitBreaker:
    def test_rolls_back_under_the_old_deployments_id(self, rehearsed: Rehearsed, disruption: str, why: str) -> None:
        done = rehearsed(disruption)
        deployments = done.records("deployment")
        old, new = deployments[0]["id"], deployments[-1]["id"]
        states = [(x["id"] == old, x["status"], x["rollout_state"]) for x in deployments]
        assert (True, "PRIMARY", "COMPLETED") in states
        assert any(x["id"] != old and x["rollout_state"] == "FAILED" for x in deployments), states
        primary = [x for x in deployments if x["status"] == "PRIMARY"][-1]
        assert (primary["id"], primary["rollout_state"]) == (old, "COMPLETED")
        assert new  # the last word is about one of the two

    def test_no_session_is_lost_by_it(self, rehearsed: Rehearsed, disruption: str, why: str) -> None:
        done = rehearsed(disruption)
        assert done.exit_code == 0, done.out
        assert done.summary["session_counts"] == {"survived": 8, "degraded": 0, "lost": 0}

    def test_the_failed_tasks_say_why(self, rehearsed: Rehearsed, disruption: str, why: str) -> None:
        reasons = {x.get("stopped_reason", "") for x in rehearsed(disruption).records("task")}
        assert any(why in reason for reason in reasons), reasons


class TestFaults:
    def test_a_killed_task_costs_some_calls_and_no_session(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("crash")
        assert done.exit_code == 0, done.out
        counts = done.summary["session_counts"]
        assert counts["lost"] == 0
        assert counts["survived"] + counts["degraded"] == 8
        (fault,) = done.records("fault", name="crash")
        for call in done.records("call", ok=False):  # no answer, or an event stream that broke off
            assert call.get("http_status") in (502, 503, 504) or call["signature"] == STREAM_ENDED, call
        killed = [x for x in done.records("task", task_id=fault["target"]) if x.get("exit_code") is not None]
        assert killed[0]["exit_code"] == 137

    def test_a_killed_task_is_replaced(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("crash")
        assert len({x["task_id"] for x in done.records("task", known="RUNNING")}) == 3
        assert any("has started 1 tasks" in x["message"] for x in done.records("service_event"))

    def test_a_stopped_task_drains_before_it_is_signalled(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("stop-task")
        assert done.exit_code == 0, done.out
        assert done.summary["error_rows"] == 0
        (fault,) = done.records("fault", name="stop-task")
        known = [x["known"] for x in done.records("task", task_id=fault["target"]) if "signal" not in x]
        assert known[known.index("DEACTIVATING") :][:2] == ["DEACTIVATING", "STOPPING"]


class TestStubbornServer:
    def test_is_killed_at_its_stop_timeout(self, rehearsed: Rehearsed) -> None:
        done = rehearsed("stubborn")
        assert done.exit_code == 0, done.out
        signals: dict[str, dict[str, float]] = {}
        for record in done.records("task"):
            if "signal" in record:
                signals.setdefault(record["task_id"], {})[record["signal"]] = record["t"]
        assert len(signals) == 2
        for sent in signals.values():
            assert sent["SIGKILL"] - sent["SIGTERM"] == pytest.approx(2.0, abs=0.8)

    def test_its_exit_code_is_137(self, rehearsed: Rehearsed) -> None:
        stopped = rehearsed("stubborn").records("task", known="STOPPED")
        assert {x["exit_code"] for x in stopped} == {137}
        assert {x["stop_code"] for x in stopped} == {"ServiceSchedulerInitiated"}
