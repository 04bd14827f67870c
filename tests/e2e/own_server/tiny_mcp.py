"""A stateless MCP server of the standard library alone, up in a tenth of a second: `python tiny_mcp.py`, on $PORT.

One tool, `ping`, that names the task. IGNORE_SIGTERM=1 makes it a server that has to be killed.
"""

from __future__ import annotations

import json
import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TASK = os.environ.get("ECS_CONTAINER_METADATA_URI_V4", "").rpartition("/")[2].partition("-")[0]
PING = {"name": "ping", "inputSchema": {"type": "object", "properties": {}}}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; None for a method that it does not know."""
    match method:
        case "initialize":
            version = params.get("protocolVersion", "2025-11-25")
            return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "tiny"}}
        case "tools/list":
            return {"tools": [PING]}
        case "tools/call":
            facts = {"task_id": TASK}
            return {"content": [{"type": "text", "text": json.dumps(facts)}], "structuredContent": facts}
        case _:
            return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "id" not in asked:
            self._reply(202, b"")
            return
        result = answer(asked["method"], asked.get("params", {}))
        body = {"result": result} if result is not None else {"error": {"code": -32601, "message": "Method not found"}}
        self._reply(200, json.dumps({"jsonrpc": "2.0", "id": asked["id"], **body}).encode())

    def do_GET(self) -> None:
        self._reply(405, b"")

    def do_DELETE(self) -> None:
        self._reply(405, b"")

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    ends = signal.SIG_IGN if os.environ.get("IGNORE_SIGTERM") else lambda *_: os._exit(0)
    signal.signal(signal.SIGTERM, ends)
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
