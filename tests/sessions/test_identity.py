"""Names that prove themselves, without any server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.sessions import Options, SessionsError
from rollproof.sessions.identity import MAX_LENGTH, Signer


def test_a_name_holds_for_its_session_and_its_kind_alone() -> None:
    signer = Signer(b"k" * 32)
    token = signer.token("stream", "one", "r", 1).text
    assert signer.read_token("stream", "one", token) is not None
    assert signer.read_token("stream", "two", token) is None
    assert signer.read_token("request", "one", token) is None
    assert signer.read_token("stream", "one", token[:-1]) is None
    assert Signer(b"l" * 32).read_token("stream", "one", token) is None


@given(st.text(max_size=200))
def test_no_text_is_a_session_id_unless_it_was_made_here(text: str) -> None:
    assert not Signer(b"k" * 32).is_session_id(text)
    assert Signer(b"k" * 32).read_token("stream", "s", text) is None


def test_session_ids_differ_and_fit_where_they_are_used() -> None:
    signer = Signer(b"k" * 32)
    ids = {signer.new_session_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(name) <= MAX_LENGTH and name.isascii() and name.isprintable() for name in ids)
    assert all(map(signer.is_session_id, ids))


def test_a_derived_key_depends_on_its_purpose() -> None:
    signer = Signer(b"k" * 32)
    assert signer.derive("a") != signer.derive("b")


@pytest.mark.parametrize(
    ("name", "value"),
    [("secret", b"short"), ("namespace", "{x}"), ("namespace", ""), ("session_ttl_s", 0), ("dead_after_s", 0.1)],
)
def test_an_option_that_cannot_work_is_refused(name: str, value: object) -> None:
    with pytest.raises(SessionsError, match=name):
        Options(**{name: value})  # type: ignore[arg-type]


def test_a_secret_is_never_printed() -> None:
    assert "kkkk" not in repr(Options(secret=b"k" * 32))
