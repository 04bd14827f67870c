import pytest

ROLLOUT = {"templates": ["service.yaml"], "write": "set_note", "read": "get_notes"}


@pytest.mark.parametrize("drain_s", [0, 60, 300, 3600])
def test_no_deregistration_delay_saves_sessions_in_memory(rollout, drain_s):
    """It sets how long calls in flight may take. A session moves when draining begins, whatever the delay."""
    result = rollout("my_server:mcp", parameters={"Drain": drain_s}, **ROLLOUT)
    assert result.sessions_lost == 4
    assert result.verdict.settings["target_group.deregistration_delay_s"] == drain_s


@pytest.mark.parametrize("desired_count", [1, 3])
def test_nor_does_the_number_of_tasks(rollout, desired_count):
    result = rollout("my_server:mcp", parameters={"DesiredCount": desired_count}, **ROLLOUT)
    assert result.sessions_lost == 4
    assert len(result.verdict.replaced_tasks) == desired_count
