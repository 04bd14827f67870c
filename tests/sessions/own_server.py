"""A user's server, as docs/sessions.md shows it."""

import asyncio
import os

from fastmcp import Context, FastMCP

from rollproof.sessions import resilient

mcp = FastMCP("own-server")


@mcp.tool
async def slow(seconds: float, ctx: Context) -> str:
    await ctx.report_progress(0, 1)
    await asyncio.sleep(seconds)
    return "done"


app = resilient(mcp, os.environ["REDIS_URL"])
