"""Sticky cookies as data: what they hold, when they count, and the exact headers that carry them.

The load balancer writes which target a client is bound to into a cookie that only it can read
(ALB-UG/sticky-sessions). Here stands the plaintext, of fixed size so that every cookie has AWS's
length; sealing it needs a key and randomness and is the data plane's business.

    AWSALB, AWSALBCORS   lb_cookie. 12 nonce + 65 plaintext + 16 tag = 93 bytes = 124 base64 characters
    AWSALBAPP-0          app_cookie. 8 zero bytes + 12 + 72 + 16 = 108 bytes = 144 base64 characters

Neither length needs base64 padding, just as observed. `Expires` is always seven days off; the configured
duration is a claim *inside* the cookie, and every response makes a new one, so the duration starts anew with each
request. A cookie that says nothing useful is never an error: `unpack_claim` answers None and the request is routed
as if it had none.
"""

from __future__ import annotations

import re
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

LB_COOKIE = b"AWSALB"
LB_CORS_COOKIE = b"AWSALBCORS"
APP_COOKIES = (b"AWSALBAPP-0", b"AWSALBAPP-1", b"AWSALBAPP-2", b"AWSALBAPP-3")
UNUSED_SHARD = b"_remove_"
EXPIRES_AFTER_S = 7 * 86_400
"""`Expires` of every cookie the balancer makes: "its own expiry of 7 days which is non-configurable"."""

LB_PLAINTEXT_SIZE = 65
APP_PLAINTEXT_SIZE = 72

_VERSION = 1
_HEAD = Struct(">BdB")  # version, valid until, length of the key
_KEY_MAX = LB_PLAINTEXT_SIZE - _HEAD.size


class Claim(NamedTuple):
    """Which target a client is bound to, and until when (UNIX time, seconds)."""

    key: bytes
    valid_until: float


def target_key(target_id: str) -> bytes:
    """The target's name inside a cookie: its id, or the id's digest where the id is too long for the fixed size."""
    raw = target_id.encode()
    return raw if len(raw) <= _KEY_MAX else b"#" + sha256(raw).digest()


def pack_claim(claim: Claim, size: int) -> bytes:
    """`size` bytes of plaintext, zero-padded."""
    return (_HEAD.pack(_VERSION, claim.valid_until, len(claim.key)) + claim.key).ljust(size, b"\0")


def unpack_claim(plaintext: bytes) -> Claim | None:
    """The claim, or None where `plaintext` is none of ours (another version, cut short)."""
    if len(plaintext) < _HEAD.size:
        return None
    version, valid_until, length = _HEAD.unpack_from(plaintext)
    if version != _VERSION or _HEAD.size + length > len(plaintext):
        return None
    return Claim(plaintext[_HEAD.size : _HEAD.size + length], valid_until)


def cookie_value(header: bytes, name: bytes) -> bytes | None:
    """The value of the first cookie called `name` in a Cookie header, or None."""
    start = 0
    while (at := header.find(name + b"=", start)) >= 0:
        if at == 0 or header[:at].rstrip(b" \t").endswith(b";"):
            return header[at + len(name) + 1 :].partition(b";")[0].strip(b" \t")
        start = at + 1
    return None


def sets_cookie(set_cookie: bytes, name: bytes) -> bool:
    """Whether a target's Set-Cookie value sets the cookie `name`. Only the name counts. ALB-UG/sticky-sessions."""
    return set_cookie.partition(b"=")[0].strip(b" \t") == name


def lb_cookie_lines(value: bytes, expires: bytes, secure: bool) -> bytes:
    """Both Set-Cookie lines of lb_cookie, each ended by CRLF; `expires` is an HTTP date.

    Over a plain HTTP listener AWSALBCORS says SameSite=None without Secure [observed].
    """
    cors = b"; SameSite=None; Secure\r\n" if secure else b"; SameSite=None\r\n"
    attributes = b"=%b; Expires=%b; Path=/" % (value, expires)
    return b"Set-Cookie: AWSALB%b\r\nSet-Cookie: AWSALBCORS%b%b" % (attributes, attributes, cors)


def app_cookie_lines(value: bytes, expires: bytes, chromium: bool) -> bytes:
    """The four Set-Cookie lines of app_cookie: one shard holds the value, the others say `_remove_`.

    `chromium`: the client is Chromium 80 or later; only it gets SameSite=None and Secure [observed].
    """
    tail = b"; Expires=%b; Path=/%b\r\n" % (expires, b"; SameSite=None; Secure" if chromium else b"")
    values = (value, UNUSED_SHARD, UNUSED_SHARD, UNUSED_SHARD)
    return b"".join(b"Set-Cookie: %b=%b%b" % (name, v, tail) for name, v in zip(APP_COOKIES, values, strict=True))


def is_chromium_80(user_agent: bytes) -> bool:
    """Whether the user agent is Chromium 80 or later: the first that asks SameSite=None to be Secure."""
    found = re.search(rb"Chrom(?:e|ium)/(\d{1,4})", user_agent)
    return found is not None and int(found[1]) >= 80
