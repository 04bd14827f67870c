"""The few calls to a Docker Engine that tasks need, awaitable, with our errors.

The SDK is synchronous: calls run in threads of their own pool (the event loop's default one is small, and
others wait there), streams each in a thread that ends with the stream. Containers are always named by name,
never by id: that is what the socket proxy's rules go by.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException

from rollproof.core.errors import RuntimeFault, Temporary

log = logging.getLogger(__name__)
T = TypeVar("T")
Json = dict[str, Any]

CALL_TIMEOUT_S = 30.0
CALLS_AT_ONCE = 8
ATTEMPTS = 20
RETRY_S = 0.5
EVENTS = ["create", "start", "die", "oom", "destroy", "health_status", "kill"]


class Refused(RuntimeFault):
    """The Engine, or the proxy in front of it, answered with an error."""

    def __init__(self, status: int, explanation: str) -> None:
        super().__init__(f"the Docker Engine answered {status}: {explanation}")
        self.status, self.explanation = status, explanation


class Engine:
    """One Engine behind `url` (unix:///path or tcp://host:port). Connects when first used; `close` ends all streams."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: Any = None
        self._connecting = threading.Lock()
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="docker")
        self._streams: set[Stream] = set()

    async def inspect(self, name: str) -> Json | None:
        """None if there is no such container."""
        return await self._find(lambda client: client.inspect_container(name))

    async def names(self, filters: Mapping[str, list[str]]) -> list[str]:
        """Names of the containers that match, in any state."""
        found = await self._call(lambda client: client.containers(all=True, filters=dict(filters)))
        return sorted(str(one["Names"][0]).lstrip("/") for one in found)

    async def create(self, name: str, config: Json) -> None:
        await self._call(lambda client: client.create_container_from_config(config, name))

    async def start(self, name: str) -> None:
        await self._call(lambda client: client.start(name))

    async def kill(self, name: str, signal: str) -> None:
        """A container that is gone or has ended is no error."""
        try:
            await self._call(lambda client: client.kill(name, signal=signal))
        except Refused as error:
            if error.status not in (404, 409):
                raise

    async def remove(self, name: str) -> None:
        """With all that runs in it. None there, or one that is on its way out: no error."""
        try:
            await self._call(lambda client: client.remove_container(name, v=True, force=True))
        except Refused as error:
            if error.status not in (404, 409):
                raise

    async def stats(self, name: str) -> Json | None:
        """One sample; None if there is no such container."""
        return await self._find(lambda client: client.stats(name, stream=False, one_shot=True))

    async def network(self, name: str) -> Json | None:
        return await self._find(lambda client: client.inspect_network(name))

    async def image(self, name: str) -> Json | None:
        """None if it is not on this machine. Nothing is ever pulled."""
        return await self._find(lambda client: client.inspect_image(name))

    def follow_events(self, filters: Mapping[str, list[str]], ring: Callable[[], None]) -> Stream:
        """Call `ring` (from another thread) whenever something happens to one of these containers."""
        everything = {**filters, "type": ["container"], "event": EVENTS}
        return self._follow("events", lambda client: client.events(filters=everything), lambda _: ring())

    def follow_log(self, name: str, write: Callable[[bytes], object], ended: Callable[[], None]) -> Stream:
        """Hand the container's output to `write` (in another thread) from its start until it has ended."""
        return self._follow(
            f"log of {name}",
            lambda client: client.logs(name, stdout=True, stderr=True, stream=True, follow=True),
            write,
            ended,
        )

    def close(self) -> None:
        """No call after this. Streams end at once."""
        for stream in list(self._streams):
            stream.stop()
        self._pool.shutdown(wait=True)
        if self._client is not None:
            self._client.close()

    def _follow(
        self,
        what: str,
        opened: Callable[[Any], Any],
        take: Callable[[bytes], object],
        ended: Callable[[], object] = bool,
    ) -> Stream:
        stream = Stream(what, lambda: opened(self._connected()), take, ended)
        self._streams.add(stream)
        stream.begin(lambda: self._streams.discard(stream))
        return stream

    async def _find(self, ask: Callable[[Any], Json]) -> Json | None:
        try:
            return await self._call(ask)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    async def _call(self, ask: Callable[[Any], T]) -> T:
        """Raises Refused, or Temporary if no Engine answers for ten seconds."""
        loop = asyncio.get_running_loop()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await loop.run_in_executor(self._pool, lambda: ask(self._connected()))
            except APIError as error:
                status = 0 if error.response is None else error.response.status_code
                raise Refused(status, str(error.explanation or error)) from error
            except (DockerException, requests.RequestException) as error:
                if attempt == ATTEMPTS:
                    raise Temporary(
                        f"no Docker Engine answers behind {self.url}: {error}", hint="does `docker version` answer?"
                    ) from error
            await asyncio.sleep(RETRY_S)
        raise AssertionError("unreachable")

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = docker.APIClient(base_url=self.url, version="auto", timeout=CALL_TIMEOUT_S)
            return self._client


class Stream:
    """An answer that goes on and on, read in a thread of its own until it ends or is stopped."""

    def __init__(
        self, what: str, opened: Callable[[], Any], take: Callable[[bytes], object], ended: Callable[[], object]
    ) -> None:
        self._what, self._opened, self._take, self._ended = what, opened, take, ended
        self._source: Any = None
        self._is_stopped = False
        self.is_over = False

    def begin(self, forget: Callable[[], None]) -> None:
        def read() -> None:
            try:
                self._read()
            except Exception as error:  # in a thread there is nobody else to tell
                if not self._is_stopped:
                    log.warning("docker: the %s broke off: %s", self._what, error)
            finally:
                self.is_over = True
                forget()
                self._ended()

        threading.Thread(target=read, name=f"docker {self._what}", daemon=True).start()

    def stop(self) -> None:
        self._is_stopped = True
        self._cut()

    def _read(self) -> None:
        self._source = self._opened()
        try:
            if not self._is_stopped:
                for chunk in self._source:
                    self._take(chunk)
        finally:
            self._cut()

    def _cut(self) -> None:
        """Close it, whatever state it is in. The SDK's own close fails on a stream that has just ended."""
        for part in (self._source, getattr(self._source, "_response", None)):
            with contextlib.suppress(Exception):
                getattr(part, "close", bool)()
