"""The tools: enough to see, from a client, what a deployment does to a session.

`set_session_value` then `get_session_state` is the pair that a replaced task splits; `increment` shows a call
that must not be applied twice; `slow` is the call in flight when SIGTERM comes; `ping` and `whoami` say who answers.
`create_session` mints a handle for clients whose protocol has no sessions; as an argument, it wins over any header.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from pydantic import Field

from server.results import Counted, Ping, SessionCreated, SessionEnded, SessionState, Slow, WhoAmI
from server.session_identity import (
    NamedSession,
    NoSessionId,
    mint,
    named_by_handle,
    protocol_version_of,
    session_id_or_none,
    session_of,
)
from server.session_store import SessionStore, State, StateRefused, StoreUnavailable, UnknownSession

Name = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(max_length=65_536)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Handle = Annotated[str, Field(min_length=1, max_length=256)]
Value = Text | bool | int | Number
Step = Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)]
Seconds = Annotated[float, Field(ge=0, le=300)]
Steps = Annotated[int, Field(ge=1, le=1_000)]


@dataclass(frozen=True)
class Tools:
    """The tools of one task. A public method is a tool, its docstring what a model reads."""

    task_id: str
    version: str
    store: SessionStore
    is_stateless: bool
    is_session_id_required: bool = True
    started_at: float = field(default_factory=time.monotonic)

    async def ping(self) -> Ping:
        """Answer at once, naming the task and its version."""
        started_at = time.perf_counter()
        uptime_s = round(time.monotonic() - self.started_at, 3)
        return Ping(self.task_id, self.version, duration_ms=_ms_since(started_at), uptime_s=uptime_s)

    async def create_session(self) -> SessionCreated:
        """Begin a session and get its handle: the argument `session` of the tools that remember something."""
        handle = mint()
        with self._told_to_the_client():
            await self.store.create(named_by_handle(handle).key)
        return SessionCreated(self.task_id, self.version, handle)

    async def end_session(self, session: Handle) -> SessionEnded:
        """End a session that create_session began, and forget what it remembers."""
        with self._told_to_the_client():
            if not await self.store.end(named_by_handle(session).key):
                raise UnknownSession
        return SessionEnded(self.task_id, self.version, session)

    async def set_session_value(
        self, key: Name, value: Value, ctx: Context, session: Handle | None = None
    ) -> SessionState:
        """Remember a value under a key in this session; the first write creates the session."""
        with self._told_to_the_client():
            of = self._session_of(ctx, session)
            return self._state_of(of, await self.store.write(of.key, key, value, must_exist=of.must_exist))

    async def get_session_state(self, ctx: Context, session: Handle | None = None) -> SessionState:
        """Everything this session remembers. An error if nothing was ever written to it."""
        with self._told_to_the_client():
            of = self._session_of(ctx, session)
            state = await self.store.read(of.key)
            if state is None and of.must_exist:
                raise UnknownSession
        if state is None:
            raise ToolError(
                f"unknown session: nothing was written to it in this server's session store ({self.store.name}), "
                "or it has expired"
            )
        return self._state_of(of, state)

    async def increment(
        self,
        ctx: Context,
        name: Name = "counter",
        by: Step = 1,
        idempotency_key: Name | None = None,
        session: Handle | None = None,
    ) -> Counted:
        """Add to a counter of this session. Repeating the call adds again, unless it carries the same
        idempotency_key: then the first result is returned, marked as replayed."""
        with self._told_to_the_client():
            of = self._session_of(ctx, session)
            result = await self.store.increment(of.key, name, by, idempotency_key, must_exist=of.must_exist)
        return Counted(
            self.task_id,
            self.version,
            of.shown,
            state=result.state,
            state_size=len(result.state),
            name=name,
            value=result.value,
            replayed=result.replayed,
        )

    async def slow(self, ctx: Context, seconds: Seconds = 5.0, steps: Steps = 10) -> Slow:
        """Work for some seconds in equal steps, reporting progress after each."""
        started_at = time.perf_counter()
        for step in range(1, steps + 1):
            await asyncio.sleep(max(0.0, started_at + seconds * step / steps - time.perf_counter()))
            await ctx.report_progress(step, steps, f"step {step} of {steps} on task {self.task_id}")
        return Slow(self.task_id, self.version, duration_ms=_ms_since(started_at), steps=steps)

    async def whoami(self, ctx: Context) -> WhoAmI:
        """The task that answers, and what it knows of this client's session."""
        return WhoAmI(
            task_id=self.task_id,
            version=self.version,
            session_id=session_id_or_none(ctx),
            transport="stateless" if self.is_stateless else "stateful",
            session_store=self.store.name,
            protocol_version=protocol_version_of(ctx),
            pid=os.getpid(),
        )

    def register(self, mcp: FastMCP) -> None:
        """Add every tool to `mcp`, with the hints that tell a client which calls it may repeat."""
        reads = {"readOnlyHint": True, "openWorldHint": False}
        writes = {"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False}
        mcp.tool(self.ping, annotations=reads)
        mcp.tool(self.whoami, annotations=reads)
        mcp.tool(self.get_session_state, annotations=reads)
        mcp.tool(self.create_session, annotations={**writes, "idempotentHint": False})
        mcp.tool(self.end_session, annotations={**writes, "destructiveHint": True, "idempotentHint": True})
        mcp.tool(self.set_session_value, annotations={**writes, "idempotentHint": True})
        mcp.tool(self.increment, annotations={**writes, "idempotentHint": False})
        mcp.tool(self.slow, annotations=reads)

    def _session_of(self, ctx: Context, handle: str | None) -> NamedSession:
        return session_of(ctx, handle, is_required=self.is_session_id_required)

    def _state_of(self, session: NamedSession, state: State) -> SessionState:
        return SessionState(self.task_id, self.version, session.shown, state=state, state_size=len(state))

    @contextmanager
    def _told_to_the_client(self) -> Iterator[None]:
        """Turn what the client can act on into a tool error; anything else stays hidden (mask_error_details)."""
        try:
            yield
        except StoreUnavailable as error:
            raise ToolError(
                f"session store is unavailable: {error}. Try again; whether a write was carried out is unknown, "
                "an increment with an idempotency key is safe to repeat"
            ) from error
        except UnknownSession as error:
            raise ToolError(
                f"unknown session: this server's session store ({self.store.name}) has none of that handle; it was "
                "never created, has ended or has expired. create_session begins a new one"
            ) from error
        except (NoSessionId, StateRefused) as error:
            raise ToolError(str(error)) from error


def _ms_since(started_at: float) -> float:
    return round((time.perf_counter() - started_at) * 1000, 3)
