"""The jar's three policies, and what of a Set-Cookie it obeys."""

from __future__ import annotations

import pytest

from rollproof.probe.cookies import CookieChange, CookieJar, cookie_digest
from rollproof.probe.options import CookieMode

URL = "http://alb.example:8080/mcp"
NOW = 1_750_000_000.0
ROTATION = [
    "AWSALB=one+/==; Expires=Thu, 30 Sep 2100 10:26:41 GMT; Path=/",
    "AWSALB=two; Path=/",
    "AWSALB=three; Path=/",
]


def jar(mode: CookieMode = CookieMode.FULL, url: str = URL) -> CookieJar:
    return CookieJar(url, mode)


@pytest.mark.parametrize(
    ("mode", "sent"),
    [
        (CookieMode.FULL, ["", "AWSALB=one+/==", "AWSALB=two", "AWSALB=three"]),
        (CookieMode.FIRST, ["", "AWSALB=one+/==", "AWSALB=one+/==", "AWSALB=one+/=="]),
        (CookieMode.NONE, ["", "", "", ""]),
    ],
)
def test_rotation_is_followed_as_the_mode_says(mode: CookieMode, sent: list[str]) -> None:
    cookies = jar(mode)
    headers = [cookies.header()]
    for line in ROTATION:
        cookies.update([line], NOW)
        headers.append(cookies.header())
    assert headers == sent


@pytest.mark.parametrize(
    ("mode", "followed"), [(CookieMode.FULL, True), (CookieMode.FIRST, False), (CookieMode.NONE, False)]
)
def test_change_is_told_with_digests_only(mode: CookieMode, followed: bool) -> None:
    cookies = jar(mode)
    assert cookies.update(ROTATION[:1], NOW) == ()
    changes = cookies.update([ROTATION[1], "AWSALBCORS=two; Path=/"], NOW)
    assert changes == (CookieChange("AWSALB", cookie_digest("one+/=="), cookie_digest("two"), followed),)
    assert cookies.update([ROTATION[1]], NOW) == ()
    assert "two" not in repr(changes)
    assert len(changes[0].new_digest) == 12


@pytest.mark.parametrize(
    ("line", "url", "kept"),
    [
        pytest.param("a=1", URL, True, id="bare"),
        pytest.param("a=1; Path=/mcp", URL, True, id="own_path"),
        pytest.param("a=1; Path=/mc", URL, False, id="path_is_no_mere_prefix"),
        pytest.param("a=1; Path=/other", URL, False, id="other_path"),
        pytest.param("a=1; Domain=.example", URL, True, id="parent_domain"),
        pytest.param("a=1; Domain=lb.example", URL, False, id="other_domain"),
        pytest.param("a=1; Secure; SameSite=None", URL, False, id="secure_over_http"),
        pytest.param("a=1; Secure; SameSite=None", URL.replace("http", "https"), True, id="secure_over_https"),
        pytest.param("a=1; Max-Age=0", URL, False, id="max_age_over"),
        pytest.param("a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", URL, True, id="max_age_wins"),
        pytest.param("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", URL, False, id="expired"),
        pytest.param("a=1; Expires=soon", URL, True, id="unreadable_expiry"),
        pytest.param("nonsense", URL, False, id="no_value"),
        pytest.param("=1", URL, False, id="no_name"),
        pytest.param("a=é", URL, False, id="not_ascii"),
    ],
)
def test_only_what_would_be_sent_back_is_kept(line: str, url: str, kept: bool) -> None:
    cookies = jar(url=url)
    cookies.update([line], NOW)
    assert bool(cookies.header()) is kept


def test_an_expired_cookie_is_deleted() -> None:
    cookies = jar()
    cookies.update(["a=1", "b=2"], NOW)
    cookies.update(["a=1; Max-Age=-1"], NOW)
    assert cookies.header() == "b=2"


def test_a_jar_that_was_lost_begins_anew() -> None:
    jar = CookieJar("http://h/mcp", CookieMode.FIRST)
    jar.update(["AWSALB=one; Path=/"], 0.0)
    jar.clear()
    assert jar.header() == ""
    jar.update(["AWSALB=two; Path=/"], 0.0)
    assert jar.header() == "AWSALB=two"
