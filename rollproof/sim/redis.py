"""A Redis for the tasks of a simulation: fakeredis, spoken to in RESP over the simulation's network.

Any client that connects with asyncio reaches it by its URL, unchanged; all tasks see one state, and its expirations
follow virtual time. It can be gone for a while, and forget, as a real one can.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, cast

import redis.asyncio
from fakeredis import FakeServer
from fakeredis._clients._tcp_server import encode_reply
from fakeredis._core._database import Database
from fakeredis._socket._async import AsyncFakeSocket

from rollproof.sim.network import MemoryServer, Network

HOST, PORT = "10.0.200.6", 6379
URL = f"redis://{HOST}:{PORT}/0"


class SimRedis:
    """`start` before any task. `delay_s` is added to every answer."""

    url = URL
    description = "fakeredis, in virtual time"

    def __init__(self, network: Network) -> None:
        self.delay_s = 0.0
        self.commands: Counter[str] = Counter()
        self._network = network
        self._data = _new_data()
        self._server: MemoryServer | None = None
        self._connections: dict[_Connection, None] = {}

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = cast("MemoryServer", await loop.create_server(lambda: _Connection(self), HOST, PORT))

    def stop(self) -> None:
        """Gone: connections are reset, new ones refused. What it holds stays, as on a disk."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.reset()

    @property
    def keys(self) -> int:
        return sum(len(database) for database in self._data.dbs.values())

    def flush(self) -> None:
        """It forgets everything."""
        self._data = _new_data()

    def forget(self) -> None:
        """FLUSHALL: the same, with its connections kept."""
        with self._data.lock:
            for database in self._data.dbs.values():
                database.clear()

    def close(self) -> None:
        self.stop()

    def opened(self, connection: _Connection) -> _Socket:
        self._connections[connection] = None
        return _Socket(self, self._data, connection)

    def closed(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)


def _new_data() -> FakeServer:
    data = FakeServer(version=(7, 4))
    lock = data.lock
    data.dbs = defaultdict(lambda: _Database(lock))
    return data


class _Database(Database):
    """A blocked client is woken by a change of a key that its command names, not by every change there is: replicas
    that listen to each other, and write heartbeats, would otherwise mostly wake one another."""

    asking: frozenset[bytes] = frozenset()  # the words of the command that is being carried out

    def __init__(self, lock: Any) -> None:
        super().__init__(lock)
        self._words: dict[Callable[[], None], frozenset[bytes]] = {}

    def add_change_callback(self, callback: Callable[[], None]) -> None:
        self._words[callback] = self.asking
        super().add_change_callback(callback)

    def remove_change_callback(self, callback: Callable[[], None]) -> None:
        del self._words[callback]
        super().remove_change_callback(callback)

    def notify_watch(self, key: bytes) -> None:
        for sock in self._watches.get(key, ()):
            sock.notify_watch()
        for callback, words in self._words.items():
            if key in words:
                callback()


class _Socket(AsyncFakeSocket):
    """fakeredis's end of a connection; its replies go out as they come, pushed ones too."""

    def __init__(self, owner: SimRedis, server: FakeServer, connection: _Connection) -> None:
        self._owner, self._connection = owner, connection
        self._blocked_in: dict[asyncio.Task[Any], None] = {}
        super().__init__(server=server, db=0, client_class=redis.asyncio.Redis, client_info={})
        self._client_info["resp"] = 2

    def put_response(self, msg: Any) -> None:
        self._connection.reply(msg, self._client_info.protocol_version)

    def _process_command(self, fields: list[bytes]) -> None:
        self._owner.commands[fields[0].decode(errors="replace").lower()] += 1
        cast("_Database", self._db).asking = frozenset(fields)
        super()._process_command(fields)

    async def _async_blocking(self, *args: Any, **options: Any) -> None:
        if (task := asyncio.current_task()) is not None:
            self._blocked_in[task] = None
            task.add_done_callback(lambda done: self._blocked_in.pop(done, None))
        await super()._async_blocking(*args, **options)

    def hang_up(self) -> None:
        """Close it, once what it was blocked in has been cancelled and has looked at the server a last time."""
        blocked = list(self._blocked_in)
        if not blocked:
            self.close()
        for task in blocked:
            task.cancel()
            task.add_done_callback(lambda _: None if self._blocked_in else self.close())


class _Connection(asyncio.Protocol):
    def __init__(self, server: SimRedis) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._socket: _Socket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._socket = self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.sendall(data)

    def reply(self, message: Any, protocol: int) -> None:
        data = encode_reply(message, protocol)
        if self._server.delay_s:
            asyncio.get_running_loop().call_later(self._server.delay_s, self._transport.write, data)
        else:
            self._transport.write(data)

    def reset(self) -> None:
        self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._server.closed(self)
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.hang_up()
