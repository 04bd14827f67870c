"""Names that prove themselves: session ids, ids of requests to a client, ids of events. Pure.

Each carries a MAC of what it is about, made with a secret that all replicas share. A guessed, forged or borrowed one is
refused without asking Redis, and a name that holds for one session holds for no other.

    session id        <random>.<mac>                                    unguessable: 128 random bits
    request id        <replica>-<number>-<mac of session, these two>    a JSON-RPC id may be a string
    event id          <replica>-<number>-<mac>/<sequence>               of the stream that answers one call
                      listen/<Redis stream id>                          of the session's standalone stream
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

MAX_LENGTH = 128  # of any of them; longer ones are refused unread
LISTEN = "listen"

_RANDOM_BYTES, _MAC_BYTES = 16, 16


@dataclass(frozen=True)
class Token:
    """`replica` made it as its `number`-th."""

    replica: str
    number: str
    text: str


class Signer:
    """`secret` is shared by all replicas of a server."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for something else, from which this one cannot be found."""
        return hmac.digest(self._secret, b"derive\0" + purpose.encode(), hashlib.sha256)

    def new_session_id(self) -> str:
        random = _text(secrets.token_bytes(_RANDOM_BYTES))
        return f"{random}.{self._mac('session', random)}"

    def is_session_id(self, text: str) -> bool:
        """Whether this server made it; not whether the session still exists."""
        random, dot, mac = text.partition(".")
        return bool(dot) and self._is_mac(mac, "session", random) if len(text) <= MAX_LENGTH else False

    def token(self, kind: str, session_id: str, replica: str, number: int) -> Token:
        """`kind` keeps the names of requests and of streams apart."""
        return Token(replica, str(number), f"{replica}-{number}-{self._mac(kind, session_id, replica, str(number))}")

    def read_token(self, kind: str, session_id: str, text: object) -> Token | None:
        """None unless it was made for this kind and session."""
        if not isinstance(text, str) or len(text) > MAX_LENGTH:
            return None
        parts = text.split("-", 2)
        if len(parts) != 3 or not self._is_mac(parts[2], kind, session_id, parts[0], parts[1]):
            return None
        return Token(parts[0], parts[1], text)

    def _mac(self, *parts: str) -> str:
        message = b"\0".join(part.encode("utf-8", "surrogatepass") for part in parts)
        return _text(hmac.digest(self._secret, message, hashlib.sha256)[:_MAC_BYTES])

    def _is_mac(self, mac: str, *parts: str) -> bool:
        return hmac.compare_digest(mac.encode("utf-8", "surrogatepass"), self._mac(*parts).encode())


def new_replica_id() -> str:
    """Of one process's life: a restarted replica is another one. No dash in it."""
    return secrets.token_hex(8)


def _text(raw: bytes) -> str:
    """URL-safe, and without the dash and the dot that part a name."""
    return base64.b32encode(raw).decode().rstrip("=").lower()
