def test_sessions_survive_a_deployment(rollout):
    result = rollout("my_server:mcp", desired_count=2, deregistration_delay_s=300, write="set_note", read="get_notes")
    assert result.sessions_lost == 0
