from fastmcp import Context, FastMCP

mcp = FastMCP("notes")
notes: dict[str, dict[str, str]] = {}


@mcp.tool
def set_note(title: str, text: str, ctx: Context) -> str:
    notes.setdefault(ctx.session_id, {})[title] = text
    return f"noted: {title}"


@mcp.tool
def get_notes(ctx: Context) -> dict[str, str]:
    return notes.get(ctx.session_id, {})
