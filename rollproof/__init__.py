"""rollproof rehearses an ECS rollout on one machine and proves whether MCP sessions survive it."""

__version__ = "0.1.0"
