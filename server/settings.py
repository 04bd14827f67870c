"""What the environment says, checked once at start.

A task that starts with a bad setting and fails on its first call costs a deployment; one that refuses to
start costs a line in the log. So every variable is checked here, all problems are reported together, and
nothing else in the server reads the environment.

    HOST                          where to listen; the image sets 0.0.0.0                 127.0.0.1
    PORT                          0 lets the system choose                                8000
    REDIS_URL                     redis://, rediss:// or unix://; unset or empty: memory  (unset)
    MCP_SESSIONS                  who keeps transport sessions: sdk, durable or resilient sdk
    MCP_STATELESS_HTTP            no transport session in this task's memory              false
    MCP_MINT_SESSION_ID           stateless: issue an Mcp-Session-Id all the same         false
    MCP_REQUIRE_SESSION_ID        refuse to keep state under an id that only one call has true
    MCP_REQUEST_STATE_KEY         32 bytes or more, the same on every task: what they seal
                                  requestState with; unset: each task a key of its own    (unset)
    MCP_JSON_RESPONSE             answer calls with JSON instead of an event stream       false
    SESSION_TTL_SECONDS           a session unused for this long is forgotten             86400
    IDEMPOTENCY_TTL_SECONDS       how long a repeated call is recognised                  3600
    SHUTDOWN_GRACE_SECONDS        after SIGTERM, for calls in flight; below stopTimeout   25
    KEEP_ALIVE_SECONDS            idle connections; above the load balancer's timeout     75
    APP_VERSION                   shown by every tool and by /health                      dev
    LOG_LEVEL                     DEBUG, INFO, WARNING or ERROR                           INFO
    ECS_CONTAINER_METADATA_URI_V4 set by ECS; where the task learns its id                (unset)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
REDIS_SCHEMES = ("redis", "rediss", "unix")
SESSIONS = ("sdk", "durable", "resilient")
LEAST_KEY_BYTES = 32


class SettingsError(ValueError):
    """The environment is wrong. One line a problem, each naming variable, value and what is allowed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Settings:
    """Everything the server is configured with. Durations in seconds."""

    host: str = "127.0.0.1"
    port: int = 8000
    redis_url: str | None = field(default=None, repr=False)  # may hold a password
    sessions: str = "sdk"  # or durable: mcp-persist; or resilient: rollproof.sessions. Both keep them in Redis
    stateless_http: bool = False  # FastMCP's own default
    mint_session_id: bool = False
    require_session_id: bool = True
    request_state_key: bytes | None = field(default=None, repr=False)
    json_response: bool = False  # FastMCP's own default; JSON costs a third less CPU but carries no progress
    session_ttl_s: int = 86_400
    idempotency_ttl_s: int = 3_600
    shutdown_grace_s: int = 25  # Fargate's stopTimeout is 30 unless set, then comes SIGKILL
    keep_alive_s: int = 75  # the ALB's idle timeout is 60: a target that closes first costs a client a 502
    app_version: str = "dev"
    log_level: str = "INFO"
    metadata_uri: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Settings of `environment`; an empty variable counts as unset. Raises SettingsError."""
        reader = _Reader(environment)
        defaults = cls()
        session_ttl_s = reader.read("SESSION_TTL_SECONDS", defaults.session_ttl_s, _integer(1, 31_536_000))
        settings = cls(
            host=reader.read("HOST", defaults.host, _word),
            port=reader.read("PORT", defaults.port, _integer(0, 65_535)),
            redis_url=reader.read("REDIS_URL", None, _redis_url, show=redact),
            sessions=reader.read("MCP_SESSIONS", defaults.sessions, _one_of(SESSIONS)),
            stateless_http=reader.read("MCP_STATELESS_HTTP", defaults.stateless_http, _boolean),
            mint_session_id=reader.read("MCP_MINT_SESSION_ID", defaults.mint_session_id, _boolean),
            require_session_id=reader.read("MCP_REQUIRE_SESSION_ID", defaults.require_session_id, _boolean),
            request_state_key=reader.read("MCP_REQUEST_STATE_KEY", None, _secret_key, show=lambda _: "***"),
            json_response=reader.read("MCP_JSON_RESPONSE", defaults.json_response, _boolean),
            session_ttl_s=session_ttl_s,
            # A recorded call must not outlive the session it belongs to.
            idempotency_ttl_s=min(
                session_ttl_s,
                reader.read("IDEMPOTENCY_TTL_SECONDS", defaults.idempotency_ttl_s, _integer(1, 31_536_000)),
            ),
            shutdown_grace_s=reader.read("SHUTDOWN_GRACE_SECONDS", defaults.shutdown_grace_s, _integer(0, 3_600)),
            keep_alive_s=reader.read("KEEP_ALIVE_SECONDS", defaults.keep_alive_s, _integer(1, 4_000)),
            app_version=reader.read("APP_VERSION", defaults.app_version, _word),
            log_level=reader.read("LOG_LEVEL", defaults.log_level, lambda text: _one_of(LOG_LEVELS)(text.upper())),
            metadata_uri=reader.read("ECS_CONTAINER_METADATA_URI_V4", None, _http_url),
        )
        problems = reader.problems or settings.contradictions()
        if problems:
            raise SettingsError(problems)
        return settings

    def contradictions(self) -> list[str]:
        """What is allowed each by itself, but not together; one line each."""
        problems = []
        if self.sessions != "sdk" and self.redis_url is None:
            problems.append(f"MCP_SESSIONS={self.sessions!r} keeps sessions in Redis: set REDIS_URL")
        if self.sessions != "sdk" and self.stateless_http:
            problems.append(
                f"MCP_SESSIONS={self.sessions!r} and MCP_STATELESS_HTTP='true' exclude each other: "
                "a stateless server has no sessions to keep"
            )
        if self.mint_session_id and not self.stateless_http:
            problems.append(
                "MCP_MINT_SESSION_ID='true' needs MCP_STATELESS_HTTP='true': a stateful server issues its own"
            )
        return problems


class _Reader:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def read(self, name: str, default: T, parse: Callable[[str], T], *, show: Callable[[str], str] = repr) -> T:
        """The parsed variable, or `default` where it is unset, empty or wrong. `show` renders it for the message."""
        text = self._environment.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(f"{name}={show(text)} is not allowed: {error}")
            return default


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        allowed = f"a whole number from {low} to {high}"
        # int() would also take "1_000", "+5" and digits of other scripts.
        if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
            raise ValueError(allowed)
        return int(text)

    return parse


def _boolean(text: str) -> bool:
    if text.lower() in TRUE_WORDS:
        return True
    if text.lower() in FALSE_WORDS:
        return False
    raise ValueError("true or false (also 1/0, yes/no, on/off)")


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text

    return parse


def _secret_key(text: str) -> bytes:
    key = text.encode()
    if len(key) < LEAST_KEY_BYTES:
        raise ValueError(f"at least {LEAST_KEY_BYTES} bytes; `openssl rand -base64 48` makes one")
    return key


def _word(text: str) -> str:
    if not text.isprintable() or any(character.isspace() for character in text) or len(text) > 255:
        raise ValueError("at most 255 printable characters without spaces")
    return text


def _http_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname:
        raise ValueError("an http:// URL")
    return text


def _redis_url(text: str) -> str:
    allowed = "redis://[user:password@]host[:port][/db], rediss://... for TLS, or unix:///path/to/socket"
    try:
        url = urlsplit(text)
        port_is_valid = url.port is None or url.port > 0
    except ValueError:
        raise ValueError(allowed) from None
    if url.scheme not in REDIS_SCHEMES or not port_is_valid:
        raise ValueError(allowed)
    if url.scheme == "unix":
        if not url.path.strip("/"):
            raise ValueError(allowed)
        return text
    database = url.path.strip("/")
    if not url.hostname or (database and not database.isdigit()):
        raise ValueError(allowed)
    return text


def redact(redis_url: str) -> str:
    """The URL as it may be logged: scheme, host, port and path. Anything that might hold a secret becomes ***.

    A password with a "/", "?" or "#" in it ends up in another part of the URL, so an "@" found outside its
    place hides everything.
    """
    scheme = redis_url.partition("://")[0] if "://" in redis_url else ""
    hidden = f"{scheme}://***" if scheme in REDIS_SCHEMES else "***"
    try:
        url = urlsplit(redis_url)
        port = f":{url.port}" if url.port is not None else ""
    except ValueError:
        return hidden
    if not scheme or "@" in url.path + url.query + url.fragment:
        return hidden
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
    return f"{url.scheme}://{'***@' if '@' in url.netloc else ''}{host}{port}{url.path}"
