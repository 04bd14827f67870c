import os

from fastmcp import Context, FastMCP

from rollproof.sessions import resilient

mcp = FastMCP("notes")


@mcp.tool
async def set_note(title: str, text: str, ctx: Context) -> str:
    await ctx.set_state("notes", {**(await ctx.get_state("notes") or {}), title: text})
    return f"noted: {title}"


@mcp.tool
async def get_notes(ctx: Context) -> dict[str, str]:
    return await ctx.get_state("notes") or {}


app = resilient(mcp, os.environ["REDIS_URL"])
