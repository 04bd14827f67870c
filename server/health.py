"""GET /health and /healthz: may this task be sent requests?

The answer does not depend on Redis. All tasks share one Redis: if its outage made them unhealthy, the load
balancer would find no healthy target and ECS would replace every task at once, again and again, and none of
it would bring Redis back. Meanwhile `ping`, `whoami` and `slow` still work, the other tools say clearly what
is wrong, and all recover by themselves. The outage is reported in `session_store_reachable` and in the log.

What does make it unhealthy is SIGTERM: 503 "draining", for whoever still asks over an open connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastmcp import FastMCP
from starlette.requests import Request
from starlette.responses import JSONResponse

from server.session_store import SessionStore
from server.shutdown import Drain


@dataclass(frozen=True)
class Health:
    """`active_sessions` is null where the store could not be asked."""

    task_id: str
    version: str
    store: SessionStore
    drain: Drain

    async def answer(self, _request: Request) -> JSONResponse:
        store = await self.store.status()
        return JSONResponse(
            {
                "status": "draining" if self.drain.has_begun else "healthy",
                "active_sessions": store.active_sessions,
                "session_store": self.store.name,
                "session_store_reachable": store.reachable,
                "version": self.version,
                "task_id": self.task_id,
            },
            status_code=503 if self.drain.has_begun else 200,
        )

    def register(self, mcp: FastMCP) -> None:
        for path in ("/health", "/healthz"):
            mcp.custom_route(path, methods=["GET"])(self.answer)
