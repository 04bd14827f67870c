"""Tells the SDK a tool's input schema, which it otherwise looks up by listing all tools for every call.

For each tools/call of 2026-07-28 that has arguments, the SDK checks Mcp-Param headers against the tool's input schema
(mcp 2.3.0, `_streamable_http_modern._mcp_param_rejection`). It asks `Server.get_tool_input_schema`, which fastmcp 4.1.2
does not set, and then runs a whole tools/list: 41 % of a call's CPU with three tools, and more with every further one.
"""

from __future__ import annotations

from typing import Any

from fastmcp import FastMCP


async def publish_input_schemas(mcp: FastMCP) -> None:
    """Set the SDK's look-up, once all tools are registered; they must not change afterwards.

    Where the SDK has no such look-up, or fastmcp has come to set one, nothing is done.
    """
    sdk_server = mcp._mcp_server
    if getattr(sdk_server, "get_tool_input_schema", ...) is not None:
        return
    schemas: dict[str, dict[str, Any]] = {
        tool.name: tool.parameters for tool in await mcp.list_tools(run_middleware=False)
    }
    sdk_server.get_tool_input_schema = schemas.get
