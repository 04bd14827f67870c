"""Requests from a server to its client, whose replies may arrive at any replica.

The id of such a request names the replica that waits and proves the session it was sent to. So a reply finds its way
from wherever it was posted, and one for another session, or for a request never made, is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from mcp.shared.dispatcher import CallOptions, ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types import REQUEST_TIMEOUT

from rollproof.sessions.identity import Signer
from rollproof.sessions.link import Link

Json = dict[str, Any]
Say = Callable[[Json], Awaitable[None]]
"""Writes one message to the client's stream."""

REQUEST = "request"

logger = logging.getLogger("rollproof.sessions")


@dataclass(frozen=True)
class _Waiting:
    session_id: str
    reply: asyncio.Future[Json]
    on_progress: ProgressFnT | None


class Backchannel:
    def __init__(self, link: Link, signer: Callable[[], Signer]) -> None:
        self._link = link
        self._signer = signer
        self._numbers = count(1)
        self._waiting: dict[str, _Waiting] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def request(
        self, session_id: str, say: Say, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None
    ) -> Json:
        """Ask the client and wait for its reply, as the SDK's dispatcher does. Raises MCPError."""
        opts = opts or {}
        token = self._signer().token(REQUEST, session_id, self._link.replica, next(self._numbers)).text
        on_progress = opts.get("on_progress")
        body = dict(params or {})
        if on_progress is not None:
            body["_meta"] = {**(body.get("_meta") or {}), "progressToken": token}
        message: Json = {"jsonrpc": "2.0", "id": token, "method": method}
        reply = asyncio.get_running_loop().create_future()
        self._waiting[token] = _Waiting(session_id, reply, on_progress)
        try:
            await say(message | ({"params": body} if body else {}))
            async with asyncio.timeout(opts.get("timeout")):
                answer = await reply
        except TimeoutError:
            await say(_cancelled(token, f"timed out after {opts.get('timeout')} s"))
            raise MCPError(code=REQUEST_TIMEOUT, message=f"Request {method!r} timed out") from None
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(say(_cancelled(token, "caller cancelled"))))
            raise
        finally:
            self._waiting.pop(token, None)
        if "error" in answer:
            error = answer["error"]
            raise MCPError(code=error.get("code", 0), message=error.get("message", ""), data=error.get("data"))
        return dict(answer.get("result") or {})

    async def deliver(self, session_id: str, message: Json) -> bool:
        """Take a client's reply, or its progress, to the replica that waits. False: there is none, or it is not this
        session's to answer. Raises StoreUnavailable."""
        is_reply = "method" not in message
        named = message.get("id") if is_reply else (message.get("params") or {}).get("progressToken")
        token = self._signer().read_token(REQUEST, session_id, named)
        if token is None:
            return False
        if token.replica == self._link.replica:
            self.take(session_id, message)
            return True
        return await self._link.tell(token.replica, {"t": "reply", "session": session_id, "message": message})

    def take(self, session_id: str, message: Json) -> None:
        """A reply or progress for this replica. One that comes too late is dropped."""
        if "method" in message:
            self._progress(session_id, message.get("params") or {})
            return
        waiting = self._waiting.get(str(message.get("id")))
        if waiting is not None and waiting.session_id == session_id and not waiting.reply.done():
            waiting.reply.set_result(message)

    def _progress(self, session_id: str, params: Json) -> None:
        waiting = self._waiting.get(str(params.get("progressToken")))
        progress, total, message = params.get("progress"), params.get("total"), params.get("message")
        if waiting is None or waiting.session_id != session_id or waiting.on_progress is None:
            return
        if isinstance(progress, int | float):
            told = waiting.on_progress(
                float(progress),
                float(total) if isinstance(total, int | float) else None,
                message if isinstance(message, str) else None,
            )
            task = asyncio.ensure_future(_quietly(told))
            self._background.add(task)
            task.add_done_callback(self._background.discard)


def _cancelled(token: str, reason: str) -> Json:
    params = {"requestId": token, "reason": reason}
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}


async def _quietly(awaitable: Awaitable[None]) -> None:
    try:
        await awaitable
    except Exception:
        logger.exception("a progress callback failed")
