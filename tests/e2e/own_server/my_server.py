"""Ten lines that a user might bring: a FastMCP server, and a factory that makes it stateless."""

from typing import Any

from fastmcp import FastMCP

mcp = FastMCP("mine")


@mcp.tool
def ping() -> str:
    return "pong"


def create_app(path: str = "/mcp") -> Any:
    return mcp.http_app(path=path, stateless_http=True)
