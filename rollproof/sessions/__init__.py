"""MCP sessions that any replica can serve: one line around a FastMCP server, and Redis.

    from fastmcp import FastMCP
    from rollproof.sessions import resilient

    mcp = FastMCP("my-server")
    app = resilient(mcp, "redis://...")      # uvicorn my_server:app

The SDK keeps a session's transport in the memory of the replica that answered `initialize`: every other replica, and
every one after a deployment, says 404. Here nothing of a session is in a replica: who it belongs to and what was
negotiated is in Redis, and each request is served by whichever replica it reaches. Replies to elicitation, sampling and
roots find the replica that asked; a broken answer is taken up at any replica; DELETE holds everywhere; SIGTERM lets
calls finish. Clients of protocol 2026-07-28, which has no sessions, are served beside it with a request-state key that
all replicas share.

It needs fastmcp and redis, and knows nothing of the rest of rollproof.
"""

from rollproof.sessions.app import resilient
from rollproof.sessions.options import Options, SessionsError

__all__ = ["Options", "SessionsError", "resilient"]
