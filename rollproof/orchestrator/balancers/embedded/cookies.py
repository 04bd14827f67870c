"""Sealed sticky cookies: AES-GCM around the plaintext of `core.stickiness`.

The key is 32 random bytes in a file only its owner may read, so that a restarted balancer honours the cookies it made
before. Nonces are random; the target group's ARN and the kind of cookie are authenticated with each value,
so a cookie of another group or kind is merely undecodable.
"""

from __future__ import annotations

import os
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rollproof.core import stickiness
from rollproof.core.errors import UsageError
from rollproof.core.settings import Stickiness, StickinessType
from rollproof.core.stickiness import Claim

KEY_SIZE = 32
_NONCE_SIZE = 12
_NONCES_DRAWN = 1024  # at once: one system call for so many cookies
_APP_PREFIX = b"\0" * 8


class Cookies(Protocol):
    """What a stickiness type does with a request's cookies and a response's."""

    def read(self, header: bytes | None, /) -> Claim | None:
        """The claim of a request's Cookie header; None where there is none that counts. Never raises."""

    def issue(self, claim: Claim, expires: bytes, had_claim: bool, set_cookies: list[bytes], agent: bytes, /) -> bytes:
        """Set-Cookie lines for a target's response, each ended by CRLF; may be empty.

        `expires` is an HTTP date, `had_claim` whether the request's cookie counted, `set_cookies` the target's own,
        `agent` the client's User-Agent.
        """


class Seal:
    """AES-GCM with one key: bytes to base64 and back."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._nonces = b""
        self._at = 0

    def seal(self, plaintext: bytes, context: bytes, prefix: bytes = b"") -> bytes:
        """base64 of prefix, nonce, ciphertext and tag."""
        at = self._at
        nonce = self._nonces[at : at + _NONCE_SIZE]
        if not nonce:
            self._nonces = os.urandom(_NONCE_SIZE * _NONCES_DRAWN)
            at, nonce = 0, self._nonces[:_NONCE_SIZE]
        self._at = at + _NONCE_SIZE
        return b2a_base64(prefix + nonce + self._aead.encrypt(nonce, plaintext, context), newline=False)

    def open(self, value: bytes, context: bytes, prefix: bytes = b"") -> bytes | None:
        """The plaintext, or None where `value` was not sealed with this key and context."""
        try:
            raw = a2b_base64(value, strict_mode=True)
            if not raw.startswith(prefix):
                return None
            start = len(prefix) + _NONCE_SIZE
            return self._aead.decrypt(raw[len(prefix) : start], raw[start:], context)
        except (Base64Error, InvalidTag, ValueError):
            return None


class NoCookies:
    """Stickiness is off."""

    def read(self, _header: bytes | None, /) -> Claim | None:
        return None

    def issue(self, _claim: Claim, _expires: bytes, _had: bool, _set_cookies: list[bytes], _agent: bytes, /) -> bytes:
        return b""


class LbCookies:
    """lb_cookie: AWSALB and AWSALBCORS on every response of a target. Where both come back, AWSALB counts."""

    def __init__(self, seal: Seal, group: bytes, is_secure: bool) -> None:
        self._seal = seal
        self._context = b"AWSALB\0" + group
        self._is_secure = is_secure

    def read(self, header: bytes | None, /) -> Claim | None:
        if header is None:
            return None
        value = stickiness.cookie_value(header, stickiness.LB_COOKIE)
        if value is None:
            value = stickiness.cookie_value(header, stickiness.LB_CORS_COOKIE)
        plaintext = self._seal.open(value, self._context) if value else None
        return None if plaintext is None else stickiness.unpack_claim(plaintext)

    def issue(self, claim: Claim, expires: bytes, _had: bool, _set_cookies: list[bytes], _agent: bytes, /) -> bytes:
        plaintext = stickiness.pack_claim(claim, stickiness.LB_PLAINTEXT_SIZE)
        return stickiness.lb_cookie_lines(self._seal.seal(plaintext, self._context), expires, self._is_secure)


class AppCookies:
    """app_cookie: issued when the target sets the named cookie, refreshed while the client returns both."""

    def __init__(self, seal: Seal, group: bytes, name: str) -> None:
        self._seal = seal
        self._context = b"AWSALBAPP\0" + group
        self._name = name.encode()

    def read(self, header: bytes | None, /) -> Claim | None:
        if header is None or stickiness.cookie_value(header, self._name) is None:
            return None
        value = stickiness.cookie_value(header, stickiness.APP_COOKIES[0])
        plaintext = self._seal.open(value, self._context, _APP_PREFIX) if value else None
        return None if plaintext is None else stickiness.unpack_claim(plaintext)

    def issue(self, claim: Claim, expires: bytes, had_claim: bool, set_cookies: list[bytes], agent: bytes, /) -> bytes:
        if not had_claim and not any(stickiness.sets_cookie(c, self._name) for c in set_cookies):
            return b""
        plaintext = stickiness.pack_claim(claim, stickiness.APP_PLAINTEXT_SIZE)
        value = self._seal.seal(plaintext, self._context, _APP_PREFIX)
        return stickiness.app_cookie_lines(value, expires, stickiness.is_chromium_80(agent))


def cookies_for(settings: Stickiness, seal: Seal, target_group_arn: str, *, is_secure: bool) -> Cookies:
    """The cookies of a target group's stickiness."""
    if not settings.enabled:
        return NoCookies()
    match settings.type:
        case StickinessType.LB_COOKIE:
            return LbCookies(seal, target_group_arn.encode(), is_secure)
        case StickinessType.APP_COOKIE:
            return AppCookies(seal, target_group_arn.encode(), settings.cookie_name)


def load_key(path: Path) -> bytes:
    """The key of `path`, made there with mode 0600 if the file does not exist. Raises UsageError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = _read_key(path)
    except OSError as error:
        raise UsageError(f"cannot write the cookie key {path}: {error.strerror}") from error
    else:
        key = os.urandom(KEY_SIZE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
    return key


def _read_key(path: Path) -> bytes:
    try:
        mode, key = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the cookie key {path}: {error.strerror}") from error
    if mode & 0o077:
        raise UsageError(f"others may read the cookie key {path}", hint=f"chmod 600 {path}")
    if len(key) != KEY_SIZE:
        raise UsageError(
            f"the cookie key {path} has {len(key)} bytes, not {KEY_SIZE}",
            hint="delete it: a new one is made, and clients get new cookies",
        )
    return key
