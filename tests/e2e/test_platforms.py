"""One server, its sessions in memory, on three platforms: who keeps a session, and through what."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.place import PATIENT, Done, Place

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FEW = ("--sessions", "2", "--delay", "0.3", "--slow-every", "0", "--set", "desired_count=3")
QUICK = ("--speed", "40", "--set", "deregistration_delay_s=60")
NAMES = ("app-runner", "lambda", "agentcore")
NOT_FOUND = "404/-32600 Session not found"


@pytest.fixture(scope="module")
def on() -> Iterator[dict[str, Done]]:
    """A rehearsal of the memory strategy on each platform, all at once."""
    places = {name: Place() for name in NAMES}
    common = ("rehearse", *QUICK, *PATIENT, *FEW, "--strategy", "memory", "--platform")
    with ThreadPoolExecutor(len(NAMES)) as pool:
        done = dict(zip(NAMES, pool.map(lambda name: places[name].run(*common, name), NAMES), strict=True))
    for place in places.values():
        place.assert_nothing_left()
    yield done
    for place in places.values():
        place.clear()


@pytest.mark.parametrize("name", ["app-runner", "lambda"])
def test_without_a_way_back_sessions_are_lost_before_anything_is_deployed(on: dict[str, Done], name: str) -> None:
    done = on[name]
    assert done.exit_code == 1, done.out + done.err
    assert done.summary["session_counts"] == {"survived": 0, "degraded": 0, "lost": 2}
    (deployed,) = done.records("mark", name="deployment-triggered")
    for session in done.summary["sessions"]:
        assert session["first_failure"]["signature"] == NOT_FOUND
        assert session["first_failure"]["t"] < deployed["t"]


def test_agentcore_keeps_every_session_through_a_deployment(on: dict[str, Done]) -> None:
    done = on["agentcore"]
    assert done.exit_code == 0, done.out + done.err
    assert done.summary["session_counts"] == {"survived": 2, "degraded": 0, "lost": 0}
    assert len(done.summary["replaced_tasks"]) == 3
    homes = {(call["session"], call["task_id"]) for call in done.records("call") if call.get("task_id")}
    assert len({session for session, _ in homes}) == len({task for _, task in homes}) == len(homes) == 2
    assert {task for _, task in homes} <= set(done.summary["replaced_tasks"])


def test_lambdas_instances_have_one_request_at_a_time_and_none_is_told_to_stop(on: dict[str, Done]) -> None:
    done = on["lambda"]
    assert {x["signal"] for x in done.records("task") if x.get("signal")} == {"SIGKILL"}
    assert {x["elb_status_code"] for x in done.records("request")} <= {"200", "202", "404"}


@pytest.mark.parametrize("name", NAMES)
def test_the_report_says_what_the_platform_set_and_what_it_leaves_out(on: dict[str, Done], name: str) -> None:
    done = on[name]
    (setting,) = done.records("setting", name="platform")
    assert setting["value"] == name
    sources = {x["name"]: x["source"] for x in done.records("setting") if x.get("source")}
    assert sources["target_group.stickiness.enabled"].startswith(f"platform {name}: ")
    assert sources["service.desired_count"] == "--set"
    assert "Left out: " in done.finding("platform")
