import pytest

NOTES = {"redis": True, "write": "set_note", "read": "get_notes"}


@pytest.mark.parametrize(
    "fault",
    [
        "crash at warmed-up + 20 s",
        "hang at target draining + 3 s for 30 s",
        "slow-responses delay_s=3 at warmed-up for 60 s",
        "redis-down at deployment started + 30 s for 5 s",
    ],
)
def test_no_fault_in_the_midst_of_a_deployment_loses_a_session(rollout, fault):
    result = rollout("my_server:app", faults=[fault], **NOTES)
    assert result.sessions_lost == 0


def test_a_bad_image_is_rolled_back(rollout):
    breaker = {"circuit_breaker_enable": True, "circuit_breaker_rollback": True}
    rollout("my_server:app", disruption="bad-image", **breaker, **NOTES).assert_survived()


def test_a_crash_is_felt_and_nothing_is_lost(rollout):
    """A crashed task stays in the balancer's choice until a check has failed or ECS has noticed: 502 meanwhile."""
    result = rollout("my_server:app", disruption="crash", delay_s=1, **NOTES)
    assert result.sessions_lost == 0
    assert result.sessions_degraded > 0
    assert "fault: crash" in result.timeline
