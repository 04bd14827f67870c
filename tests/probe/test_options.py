"""Options that make no sense are refused before anything starts; flags are read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.core.errors import NotModelled, UsageError
from rollproof.probe import flags
from rollproof.probe.options import Activity, Era, ProbeOptions, SessionIds

URL = "http://127.0.0.1:1/mcp"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint": "127.0.0.1/mcp"}, "is not an http URL"),
        ({"endpoint": "ftp://h/mcp"}, "is not an http URL"),
        ({"sessions": 0}, "sessions is 0"),
        ({"delay_s": -1.0}, "delay_s is -1"),
        ({"request_timeout_s": 0.0}, "request_timeout_s is 0"),
        ({"slow_every": 1, "slow_s": 30.0}, "would end every slow call"),
        ({"arguments": {"a": 1}}, "no tool"),
        ({"headers": {"X\n": "1"}}, "cannot be sent"),
        ({"headers": {"X": "a\r\nb"}}, "cannot be sent"),
        ({"era": Era.MODERN, "reinitialise": True}, "no initialize"),
        ({"era": Era.BOTH}, "one session cannot speak both"),
        ({"session_ids": SessionIds.HANDLE, "tool": "search"}, "session handles are an argument"),
        ({"answer_delay_s": -1.0}, "answer_delay_s is -1"),
        ({"notice_within_s": 0.0}, "notice_within_s is 0"),
        ({"activity_timeout_s": 0.5}, "would end every slow call of an activity"),
    ],
)
def test_nonsense_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        ProbeOptions(**{"endpoint": URL, **options}).validate()
    assert caught.value.hint


def test_the_modern_eras_stream_is_not_modelled() -> None:
    with pytest.raises(NotModelled, match="subscriptions/listen"):
        ProbeOptions(URL, era=Era.MODERN, open_streams=True).validate()


def test_of_both_eras_each_gets_what_it_has() -> None:
    both = ProbeOptions(URL, sessions=2, era=Era.BOTH, open_streams=True, reinitialise=True)
    both.validate()
    legacy, modern = (both.in_era(era) for era in both.eras)
    assert (legacy.era, legacy.open_streams, legacy.reinitialise) == (Era.LEGACY, True, True)
    assert (modern.era, modern.open_streams, modern.reinitialise) == (Era.MODERN, False, False)
    legacy.validate()
    modern.validate()


def test_a_handle_may_be_renewed_in_the_modern_era_too() -> None:
    options = ProbeOptions(URL, sessions=2, era=Era.BOTH, session_ids=SessionIds.HANDLE, reinitialise=True)
    options.in_era(Era.MODERN).validate()
    assert options.in_era(Era.MODERN).reinitialise


@pytest.mark.parametrize(("sessions", "era", "first"), [(1, Era.LEGACY, 8), (6, Era.LEGACY, 2), (20, Era.BOTH, 1)])
def test_the_sessions_of_an_era_try_every_activity_once(sessions: int, era: Era, first: int) -> None:
    options = ProbeOptions(URL, sessions=sessions, era=era, activities=tuple(Activity))
    assert options.first_activities == first
    assert ProbeOptions(URL).first_activities == 0


def test_the_defaults_are_valid_and_headers_stay_out_of_sight() -> None:
    options = ProbeOptions(URL, headers={"Authorization": "Bearer hush"})
    options.validate()
    assert "hush" not in repr(options)


def test_flags_are_read() -> None:
    assert flags.tool_arguments("") == {}
    assert flags.tool_arguments('{"a": 1}') == {"a": 1}
    assert flags.activities("") == ()
    assert flags.activities("all") == tuple(Activity)
    assert flags.activities("roots, stream,roots") == (Activity.ROOTS, Activity.STREAM)
    assert flags.headers(["Authorization: Bearer a:b"]) == {"Authorization": "Bearer a:b"}


def test_an_unknown_activity_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="unknown activity 'sing'") as caught:
        flags.activities("roots,sing")
    assert "elicitation" in caught.value.hint


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_arguments_must_be_an_object(text: str) -> None:
    with pytest.raises(UsageError, match="--args is not"):
        flags.tool_arguments(text)


def test_a_header_without_a_name_is_refused_unseen() -> None:
    with pytest.raises(UsageError) as caught:
        flags.headers(["hush"])
    assert "hush" not in caught.value.message + caught.value.hint
