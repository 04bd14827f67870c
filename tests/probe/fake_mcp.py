"""An MCP server of several tasks behind a sticky balancer, small enough to read: the other end of the probe's tests.

Stateful, each task keeps its sessions in its own memory, as fastmcp does by default; stateless, all share one store
keyed by the client's Mcp-Session-Id. `replace_tasks` is a rollout. `fail_next` scripts faults.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from tests.probe.loopback import Reply, Request

Message = dict[str, Any]
Fault = Callable[["FakeMcp", Request, Reply], Awaitable[None]]

NOT_FOUND = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}


def _tool(name: str, /, **types: str) -> Message:
    return {"name": name, "inputSchema": {"properties": {key: {"type": kind} for key, kind in types.items()}}}


SAMPLE_TOOLS = [
    _tool("set_session_value", key="string", value="string"),
    _tool("get_session_state"),
    _tool("increment", name="string", idempotency_key="string"),
    _tool("slow", seconds="number"),
]
CLIENT_TOOLS = [
    _tool("confirm", question="string", token="string"),
    _tool("announce", text="string"),
]


class Task:
    def __init__(self, name: str) -> None:
        self.name = name
        self.sessions: dict[str, Message] = {}


class FakeMcp:
    """A script for Loopback."""

    def __init__(self, *, tasks: int = 1, stateless: bool = False, sticky: bool = True) -> None:
        self.tools = SAMPLE_TOOLS
        self.is_stateless = stateless
        self.is_sticky = sticky
        self.has_stream = False
        self.ids = count(1)
        self.tasks = [Task(f"task{n}") for n in range(1, tasks + 1)]
        self.store: dict[str, Message] = defaultdict(dict)
        self.keys: dict[tuple[str, str], int] = {}  # idempotency keys: the value they returned
        self.turn = count()
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.initialized = 0
        self.deleted: list[str] = []
        self.served: list[str] = []  # tools and methods, in order
        self.replies: asyncio.Queue[Message] = asyncio.Queue()  # of clients that were asked something
        self.release_slow = asyncio.Event()
        self.slow_begun = asyncio.Event()

    def replace_tasks(self) -> None:
        """New tasks, new memory."""
        self.tasks = [Task(f"new-{task.name}") for task in self.tasks]

    def fail_next(self, what: str, *faults: Fault) -> None:
        """The next requests for the tool or method `what` meet these faults instead of an answer."""
        self.faults[what].extend(faults)

    async def __call__(self, request: Request, reply: Reply) -> None:
        task = self._route(request, reply)
        what = self._what(request)
        self.served.append(what)
        if self.faults[what]:
            await self.faults[what].popleft()(self, request, reply)
        else:
            await self.answer(task, request, reply)

    async def answer(self, task: Task, request: Request, reply: Reply) -> None:
        session_id = request.headers.get("mcp-session-id", "")
        method = request.message.get("method")
        if method == "initialize":
            await self._initialize(task, request, reply)
        elif not self.is_stateless and session_id not in task.sessions:
            await reply.json(404, NOT_FOUND)
        elif request.method == "DELETE":
            await self._delete(task, session_id, reply)
        elif request.method == "GET":
            await self._stream(reply)
        elif method == "tools/list":
            await reply.json(200, self.result(request, {"tools": self.tools}))
        elif method == "tools/call":
            await self._call(task, session_id, request, reply)
        elif "result" in request.message:
            self.replies.put_nowait(request.message)
            await reply.body(202)
        else:
            await reply.body(202)

    def apply(self, task: Task, request: Request) -> Message:
        """Carry out a tools/call; returns the tool's structured content."""
        session_id = request.headers.get("mcp-session-id", "")
        state = self.store[session_id] if self.is_stateless else task.sessions[session_id]
        arguments = request.message["params"]["arguments"]
        extra: Message = {}
        match request.message["params"]["name"]:
            case "set_session_value":
                state[arguments["key"]] = arguments["value"]
            case "increment":
                key = (session_id, arguments.get("idempotency_key", ""))
                extra["replayed"] = bool(key[1]) and key in self.keys
                if not extra["replayed"]:
                    state["counter"] = state.get("counter", 0) + 1
                    self.keys[key] = state["counter"]
                extra |= {"name": "counter", "value": self.keys[key] if key[1] else state["counter"]}
        return {"task_id": task.name, "state": dict(state), "state_size": len(state), **extra}

    @staticmethod
    def result(request: Request, result: Message) -> Message:
        return {"jsonrpc": "2.0", "id": request.message["id"], "result": result}

    def _route(self, request: Request, reply: Reply) -> Task:
        """By cookie where it is sticky and the task still exists, else in turn. The cookie rotates at each answer."""
        sent = request.headers.get("cookie", "").partition("AWSALB=")[2].partition(".")[0]
        named = [task for task in self.tasks if task.name == sent]
        task = named[0] if named and self.is_sticky else self.tasks[next(self.turn) % len(self.tasks)]
        if self.is_sticky:
            reply.add_header("Set-Cookie", f"AWSALB={task.name}.{next(self.ids)}; Path=/")
        return task

    def _what(self, request: Request) -> str:
        method = request.message.get("method", request.method)
        return str(request.message["params"]["name"]) if method == "tools/call" else str(method)

    async def _initialize(self, task: Task, request: Request, reply: Reply) -> None:
        self.initialized += 1
        if not self.is_stateless:
            session_id = f"issued-{next(self.ids)}"
            task.sessions[session_id] = {}
            reply.add_header("Mcp-Session-Id", session_id)
        info = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "fake"}}
        await reply.json(200, self.result(request, info))

    async def _delete(self, task: Task, session_id: str, reply: Reply) -> None:
        self.deleted.append(session_id)
        del task.sessions[session_id]
        await reply.body(200)

    async def _stream(self, reply: Reply) -> None:
        if not self.has_stream:
            await reply.body(405)
            return
        await reply.start_stream()
        await reply.send(": ping\n\n")
        await asyncio.Event().wait()  # until the client hangs up

    async def _call(self, task: Task, session_id: str, request: Request, reply: Reply) -> None:
        """As fastmcp does by default: the answer is an event of a stream."""
        await reply.start_stream()
        if request.message["params"]["name"] == "slow":
            self.slow_begun.set()
            token = request.message["params"]["_meta"]["progressToken"]
            progress = {"progressToken": token, "progress": 1, "total": 2}
            await reply.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
            await self.release_slow.wait()
            if reply.is_cut:
                return
        await reply.event(self.result(request, {"structuredContent": self.apply(task, request), "isError": False}))
        await reply.end_stream()


# Faults


async def bad_gateway(_mcp: FakeMcp, _request: Request, reply: Reply) -> None:
    await reply.body(502, "<html>502 Bad Gateway</html>", "text/html")


async def applied_then_bad_gateway(mcp: FakeMcp, request: Request, reply: Reply) -> None:
    """The write arrived; its answer did not."""
    mcp.apply(_task_of(mcp, request), request)
    await bad_gateway(mcp, request, reply)


async def applied_twice(mcp: FakeMcp, request: Request, reply: Reply) -> None:
    """Somebody between client and server sent it again."""
    task = _task_of(mcp, request)
    mcp.apply(task, request)
    await mcp.answer(task, request, reply)


async def hang_up(_mcp: FakeMcp, _request: Request, reply: Reply) -> None:
    reply.cut()


async def cut_stream(_mcp: FakeMcp, _request: Request, reply: Reply) -> None:
    await reply.start_stream()
    await reply.send(": ping\n\n")
    reply.cut()


def _task_of(mcp: FakeMcp, request: Request) -> Task:
    session_id = request.headers.get("mcp-session-id", "")
    return next(task for task in mcp.tasks if mcp.is_stateless or session_id in task.sessions)
