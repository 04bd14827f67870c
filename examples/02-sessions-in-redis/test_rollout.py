def test_sessions_survive_a_deployment(rollout):
    result = rollout(
        "my_server:app", desired_count=2, deregistration_delay_s=300, redis=True, write="set_note", read="get_notes"
    )
    assert result.sessions_lost == 0


def test_no_call_fails_without_sticky_cookies_either(rollout):
    result = rollout("my_server:app", stickiness_enabled=False, redis=True, write="set_note", read="get_notes")
    result.assert_survived()
