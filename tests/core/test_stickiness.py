"""What sticky cookies hold, and the headers that carry them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.core import stickiness
from rollproof.core.stickiness import Claim, cookie_value, pack_claim, target_key, unpack_claim

SIZES = (stickiness.LB_PLAINTEXT_SIZE, stickiness.APP_PLAINTEXT_SIZE)
EXPIRES = b"Thu, 30 Sep 2021 10:26:41 GMT"


@given(
    target_id=st.text(st.characters(codec="utf-8"), max_size=120),
    valid_until=st.floats(allow_nan=False),
    size=st.sampled_from(SIZES),
)
def test_a_claim_comes_back_as_it_was_packed_and_always_fills_its_size(
    target_id: str, valid_until: float, size: int
) -> None:
    claim = Claim(target_key(target_id), valid_until)
    packed = pack_claim(claim, size)
    assert (len(packed), unpack_claim(packed)) == (size, claim)


@given(plaintext=st.binary(max_size=90))
def test_any_bytes_unpack_to_a_claim_or_to_none_and_never_raise(plaintext: bytes) -> None:
    claim = unpack_claim(plaintext)
    assert claim is None or claim.key in plaintext


@pytest.mark.parametrize(
    "plaintext",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x01" * 9, id="shorter_than_its_head"),
        pytest.param(b"\x02" + pack_claim(Claim(b"a:1", 1.0), 65)[1:], id="another_version"),
        pytest.param(pack_claim(Claim(b"a:1", 1.0), 65)[:11], id="cut_within_the_key"),
    ],
)
def test_a_plaintext_that_is_none_of_ours_holds_no_claim(plaintext: bytes) -> None:
    assert unpack_claim(plaintext) is None


def test_a_long_target_id_is_named_by_its_digest_and_two_of_them_differ() -> None:
    first, second = target_key("a" * 200 + ":1"), target_key("a" * 200 + ":2")
    assert len(first) == len(second) == 33
    assert first != second
    assert target_key("10.0.0.12:8000") == b"10.0.0.12:8000"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(b"AWSALB=v", b"v", id="alone"),
        pytest.param(b"a=1; AWSALB=v; b=2", b"v", id="among_others"),
        pytest.param(b"a=1;AWSALB=v", b"v", id="no_space_after_semicolon"),
        pytest.param(b"a=1 ;\t AWSALB= v ", b"v", id="odd_white_space"),
        pytest.param(b"AWSALBCORS=c; AWSALB=v", b"v", id="longer_name_first"),
        pytest.param(b"xAWSALB=x; AWSALB=v", b"v", id="name_as_suffix_of_another"),
        pytest.param(b"x=AWSALB=w; AWSALB=v", b"v", id="name_inside_a_value"),
        pytest.param(b"AWSALB=first; AWSALB=second", b"first", id="twice"),
        pytest.param(b"AWSALB=", b"", id="empty"),
        pytest.param(b"AWSALBCORS=c", None, id="only_a_longer_name"),
        pytest.param(b"xAWSALB=x", None, id="only_as_suffix"),
        pytest.param(b"", None, id="no_cookie"),
    ],
)
def test_cookie_value_finds_exactly_the_named_cookie(header: bytes, expected: bytes | None) -> None:
    assert cookie_value(header, b"AWSALB") == expected


@pytest.mark.fidelity("ALB-STICKY-17", source="ALB-UG/sticky-sessions", mark="doc")
@pytest.mark.parametrize(
    ("set_cookie", "expected"),
    [
        (b"SESSION=abc; Path=/; HttpOnly", True),
        (b" SESSION =abc", True),
        (b"SESSION", True),
        (b"SESSIONS=abc", False),
        (b"other=SESSION=1", False),
        (b"session=abc", False),
    ],
)
def test_sets_cookie_compares_only_the_name(set_cookie: bytes, expected: bool) -> None:
    assert stickiness.sets_cookie(set_cookie, b"SESSION") is expected


@pytest.mark.fidelity("ALB-STICKY-2", "ALB-STICKY-3", "ALB-STICKY-4", "ALB-STICKY-5")
@pytest.mark.parametrize(("secure", "tail"), [(True, b"; SameSite=None; Secure"), (False, b"; SameSite=None")])
def test_lb_cookie_lines_are_those_of_the_captures(secure: bool, tail: bytes) -> None:
    assert stickiness.lb_cookie_lines(b"<v>", EXPIRES, secure) == (
        b"Set-Cookie: AWSALB=<v>; Expires=Thu, 30 Sep 2021 10:26:41 GMT; Path=/\r\n"
        b"Set-Cookie: AWSALBCORS=<v>; Expires=Thu, 30 Sep 2021 10:26:41 GMT; Path=/" + tail + b"\r\n"
    )


@pytest.mark.fidelity("ALB-STICKY-18", "ALB-STICKY-19")
@pytest.mark.parametrize(("chromium", "tail"), [(False, b""), (True, b"; SameSite=None; Secure")])
def test_app_cookie_lines_remove_the_shards_that_are_not_used(chromium: bool, tail: bytes) -> None:
    attributes = b"; Expires=" + EXPIRES + b"; Path=/" + tail + b"\r\n"
    assert stickiness.app_cookie_lines(b"<v>", EXPIRES, chromium) == (
        b"Set-Cookie: AWSALBAPP-0=<v>" + attributes + b"Set-Cookie: AWSALBAPP-1=_remove_" + attributes +
        b"Set-Cookie: AWSALBAPP-2=_remove_" + attributes + b"Set-Cookie: AWSALBAPP-3=_remove_" + attributes
    )  # fmt: skip


@pytest.mark.fidelity("ALB-STICKY-19", source="CAPTURES", mark="doc")
@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (b"Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/79.0.3945.88 Safari/537.36", False),
        (b"Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/80.0.3987.87 Safari/537.36", True),
        (b"Mozilla/5.0 Chromium/121.0", True),
        (b"Mozilla/5.0 (X11; rv:120.0) Gecko/20100101 Firefox/120.0", False),
        (b"", False),
    ],
)
def test_chromium_is_known_from_version_80_on(agent: bytes, expected: bool) -> None:
    assert stickiness.is_chromium_80(agent) is expected
