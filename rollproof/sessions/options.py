"""What can be set, and the errors that are raised to whoever sets it."""

from __future__ import annotations

from dataclasses import dataclass, field

LEAST_SECRET_BYTES = 32


class SessionsError(ValueError):
    """This server cannot be made resilient as it was asked for; the message says why and what to do."""


@dataclass(frozen=True)
class Options:
    """Durations in seconds. Raises SessionsError for a value that cannot work."""

    namespace: str = "mcp"  # prefix of every key: servers that share a Redis need different ones
    secret: bytes | None = field(default=None, repr=False)  # signs ids and request state; None: one is made in Redis
    session_ttl_s: float = 86_400.0  # a session unused for this long is forgotten
    unproven_ttl_s: float = 600.0  # ... and one that was opened and never used, for this long
    json_response: bool = False  # answer with JSON: no progress, no requests to the client, nothing to resume
    event_ttl_s: float = 60.0  # how long a finished answer can be taken up
    running_ttl_s: float = 7_200.0  # ... and one that is still being worked on
    kept_notifications: int = 100  # a session's, while it listens nowhere
    retry_ms: int | None = None  # tells clients when to reconnect a stream; None: they decide
    keepalive_s: float = 15.0  # comments on a quiet stream, below a load balancer's idle timeout (ALB: 60 s)
    redis_budget_s: float = 2.0  # for what a request has to know from Redis, before it is answered with 503
    cache_s: float = 60.0  # a session seen this recently is served without asking Redis, also while Redis is away
    cached_sessions: int = 10_000
    drain_s: float = 25.0  # from SIGTERM on, for calls whose clients have left; below ECS's stopTimeout of 30
    heartbeat_s: float = 1.0
    dead_after_s: float = 5.0  # a replica without a heartbeat for this long has lost its calls

    def __post_init__(self) -> None:
        if self.secret is not None and len(self.secret) < LEAST_SECRET_BYTES:
            raise SessionsError(f"secret has {len(self.secret)} bytes; at least {LEAST_SECRET_BYTES} are needed")
        if not self.namespace or not self.namespace.isprintable() or any(c in self.namespace for c in "{} "):
            raise SessionsError(f"namespace {self.namespace!r} cannot be a prefix of Redis keys")
        for name in ("session_ttl_s", "unproven_ttl_s", "event_ttl_s", "running_ttl_s", "keepalive_s", "heartbeat_s"):
            if not getattr(self, name) >= 0.01:
                raise SessionsError(f"{name} is {getattr(self, name)!r}; it must be above 0")
        if self.dead_after_s < 2 * self.heartbeat_s:
            raise SessionsError("dead_after_s is less than two heartbeats: a slow moment would count as a death")
