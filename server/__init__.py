"""A stateful MCP server as a team deploys it to Fargate; the default subject of a rehearsal.

It stands alone: its image holds fastmcp, redis and uvicorn, and nothing of the rehearsal around it.
Run by `python -m server`, configured by the environment (see `server.settings`).
"""
