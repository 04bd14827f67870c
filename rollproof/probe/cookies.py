"""A client's cookie jar under one of three policies. Pure: response headers in, request header and changes out.

An ALB re-encrypts its sticky cookie on every response, for the same target too (ALB-UG/sticky-sessions), so a
changed cookie says nothing about the target. `CookieChange` carries digests only: a cookie's value is never written
down.

The jar serves one URL: a cookie that would never be sent back there (another domain or path, Secure over plain
HTTP: RFC 6265, section 5.4) is not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from rollproof.probe.options import CookieMode


@dataclass(frozen=True)
class CookieChange:
    """The server issued another value than before. `followed`: the client will send the new one."""

    name: str
    old_digest: str
    new_digest: str
    followed: bool


@dataclass(frozen=True)
class _SetCookie:
    name: str
    value: str
    attributes: dict[str, str]


class CookieJar:
    """`header()` is what a request to `url` carries, "" for none; `update` takes the Set-Cookie lines of an answer."""

    def __init__(self, url: str, mode: CookieMode) -> None:
        parts = urlsplit(url)
        self._host, self._path = parts.hostname or "", parts.path or "/"
        self._secure = parts.scheme == "https"
        self._mode = mode
        self._kept: dict[str, str] = {}
        self._issued: dict[str, str] = {}  # name -> digest of the value last issued

    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self._kept.items())

    def clear(self) -> None:
        """The client has lost what it had."""
        self._kept.clear()

    def update(self, lines: Iterable[str], at: float) -> tuple[CookieChange, ...]:
        """Apply Set-Cookie lines received at UNIX time `at`; returns the changed ones, first issues excluded."""
        changes = []
        for line in lines:
            cookie = _parse(line)
            if cookie is None or not self._applies(cookie):
                continue
            followed = self._keep(cookie, at)
            digest = cookie_digest(cookie.value)
            old = self._issued.get(cookie.name)
            self._issued[cookie.name] = digest
            if old not in (None, digest):
                changes.append(CookieChange(cookie.name, str(old), digest, followed))
        return tuple(changes)

    def _keep(self, cookie: _SetCookie, at: float) -> bool:
        if self._mode is CookieMode.NONE or (self._mode is CookieMode.FIRST and cookie.name in self._kept):
            return False
        if _has_expired(cookie, at):
            self._kept.pop(cookie.name, None)
        else:
            self._kept[cookie.name] = cookie.value
        return True

    def _applies(self, cookie: _SetCookie) -> bool:
        domain = cookie.attributes.get("domain", "").lstrip(".").lower()
        path = cookie.attributes.get("path", "")
        if domain and self._host != domain and not self._host.endswith("." + domain):
            return False
        if path.startswith("/") and not (self._path + "/").startswith(path.rstrip("/") + "/"):
            return False
        return self._secure or "secure" not in cookie.attributes


def cookie_digest(value: str) -> str:
    """The first 12 hex digits of its SHA-256: enough to tell two apart, useless to send."""
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def _parse(line: str) -> _SetCookie | None:
    pair, *rest = line.split(";")
    name, equals, value = pair.partition("=")
    if not equals or not name.strip() or not line.isascii():
        return None
    attributes = {}
    for part in rest:
        key, _, attribute = part.partition("=")
        attributes[key.strip().lower()] = attribute.strip()
    return _SetCookie(name.strip(), value.strip(), attributes)


def _has_expired(cookie: _SetCookie, at: float) -> bool:
    """Max-Age wins over Expires; an unreadable one is as if absent. RFC 6265, section 5.3."""
    max_age = cookie.attributes.get("max-age", "")
    if max_age.removeprefix("-").isdigit():
        return int(max_age) <= 0
    try:
        return parsedate_to_datetime(cookie.attributes["expires"]).timestamp() <= at
    except (KeyError, ValueError, TypeError, OverflowError):
        return False
