"""One client's HTTP: its own connections, its own cookie jar, one exchange at a time or several at once.

It drives an httpx transport directly. `httpx.AsyncClient` would keep cookies of its own and cost a fifth more CPU;
a client under test must do nothing unseen. No proxy of the environment is used: it would put all clients on one
connection.

Cost: one call of a session takes about 1.5 ms of CPU in all (Python 3.11, 2.5 GHz; 1.3 ms on uvloop), so 200
sessions at a call a second take a third of a core, and 45 MB.

Nothing raises for what the network does: every fault becomes an `Answer`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from typing import cast

import httpx

from rollproof.history import Clock
from rollproof.probe import answer as a
from rollproof.probe.answer import Answer
from rollproof.probe.cookies import CookieJar
from rollproof.probe.dialect import SESSION_HEADER, Message
from rollproof.probe.draft import Draft
from rollproof.probe.options import ProbeOptions
from rollproof.probe.sse import SseParser, StreamTooLarge

OnMessage = Callable[[Message], Awaitable[None]]
TransportFactory = Callable[[], httpx.AsyncBaseTransport]

# A stream is read to its end after the answer, so that the connection can be used again; but not for longer.
_REST_OF_STREAM_S = 1.0
_CONNECTIONS = httpx.Limits(max_connections=8, max_keepalive_connections=4)


def http_transports(options: ProbeOptions) -> TransportFactory:
    """A factory of real transports, one for each client. The TLS context, slow to build, is shared."""
    tls = (
        httpx.create_ssl_context() if options.endpoint.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    limits = httpx.Limits(
        max_connections=_CONNECTIONS.max_connections,
        max_keepalive_connections=_CONNECTIONS.max_keepalive_connections,
        keepalive_expiry=options.keepalive_expiry_s,
    )
    return lambda: httpx.AsyncHTTPTransport(verify=tls, limits=limits, trust_env=False)


class Wire:
    """HTTP to one endpoint as one client. `close` ends its connections; nothing else does."""

    def __init__(self, options: ProbeOptions, transports: TransportFactory, jar: CookieJar, clock: Clock) -> None:
        self._options = options
        self._transports = transports
        self._transport = transports()
        self._jar = jar
        self._clock = clock
        self._url = httpx.URL(options.endpoint)

    async def close(self) -> None:
        await self._transport.aclose()

    def lose_cookies(self) -> None:
        self._jar.clear()

    @asynccontextmanager
    async def on_new_connections(self) -> AsyncIterator[Wire]:
        """The same client, cookies included, on connections that end with the block."""
        wire = Wire(self._options, self._transports, self._jar, self._clock)
        try:
            yield wire
        finally:
            await wire.close()

    async def post(
        self,
        message: Message,
        headers: Mapping[str, str],
        on_message: OnMessage,
        *,
        within_s: float | None = None,
        breaks: bool = False,
    ) -> Answer:
        """Send one message. A request's answer is matched by its id; other messages go to `on_message`.

        `within_s` is the whole exchange's, by default the option's. `breaks`: hang up at the first event before the
        answer that can be taken up from, i.e. once the server has numbered one.
        """
        request_id = message.get("id") if "method" in message else None
        content = json.dumps(message, separators=(",", ":")).encode()
        return await self._exchange("POST", headers, content, request_id, on_message, within_s=within_s, breaks=breaks)

    async def take_up(
        self, request_id: int, headers: Mapping[str, str], on_message: OnMessage, within_s: float
    ) -> Answer:
        """GET with Last-Event-ID in `headers`: the rest of a stream that broke before the answer to `request_id`."""
        return await self._exchange("GET", headers, None, request_id, on_message, within_s=within_s)

    async def delete(self, headers: Mapping[str, str]) -> Answer:
        return await self._exchange("DELETE", headers, None, None, _ignore)

    async def listen(
        self, headers: Mapping[str, str], on_open: Callable[[Answer], None], on_message: OnMessage
    ) -> Answer:
        """Hold a standalone GET stream until it ends; `on_open` is called once its head has come with 200."""
        draft = self._draft(headers, None)
        try:
            async with self._send("GET", headers, None, draft) as response:
                if _media_type(response) == "text/event-stream" and response.status_code == 200:
                    on_open(draft.answer(self._clock.now()))
                    await self._read_events(response, draft, on_message)
        except (httpx.RequestError, ValueError, RecursionError) as error:
            draft.fail(_fault_of(error, draft), error)
        return draft.answer(self._clock.now())

    async def _exchange(
        self,
        method: str,
        headers: Mapping[str, str],
        content: bytes | None,
        request_id: int | None,
        on_message: OnMessage,
        *,
        within_s: float | None = None,
        breaks: bool = False,
    ) -> Answer:
        within_s = self._options.request_timeout_s if within_s is None else within_s
        draft = self._draft(headers, request_id)
        draft.breaks = breaks
        try:
            async with asyncio.timeout(within_s):
                async with self._send(method, headers, content, draft) as response:
                    await self._read(response, draft, on_message)
        except TimeoutError:
            draft.fail(a.TIMEOUT, f"no answer within {within_s:g} s")
        except (httpx.RequestError, ValueError, RecursionError) as error:
            draft.fail(_fault_of(error, draft), error)
        return draft.answer(self._clock.now())

    def _draft(self, headers: Mapping[str, str], request_id: int | None) -> Draft:
        return Draft(self._clock.now(), request_id, headers.get(SESSION_HEADER, ""))

    @asynccontextmanager
    async def _send(
        self, method: str, headers: Mapping[str, str], content: bytes | None, draft: Draft
    ) -> AsyncIterator[httpx.Response]:
        all_headers = {**self._options.headers, **headers}
        if cookie := self._jar.header():
            all_headers["Cookie"] = cookie
        phases = {"connect": self._options.connect_timeout_s, "read": None, "write": None, "pool": None}
        request = httpx.Request(method, self._url, headers=all_headers, content=content, extensions={"timeout": phases})
        response = await self._transport.handle_async_request(request)
        try:
            draft.http_status = response.status_code
            draft.issued_session_id = response.headers.get(SESSION_HEADER, "")
            lines = response.headers.get_list("set-cookie")
            draft.cookie_changes = self._jar.update(lines, self._clock.started_at + self._clock.now())
            if response.is_redirect:
                draft.detail = f"redirected to {response.headers.get('location', '?')}: give that URL as the endpoint"
            yield response
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response, draft: Draft, on_message: OnMessage) -> None:
        match _media_type(response):
            case "text/event-stream":
                await self._read_events(response, draft, on_message)
                if draft.was_broken:
                    draft.fail(a.STREAM_ENDED, "broken off by the client")
                draft.fail(a.STREAM_ENDED, "the event stream ended without the answer")
            case "application/json":
                body = await self._read_body(response)
                if body.strip():
                    draft.take(json.loads(body), self._clock.now())
            case other:
                await self._read_body(response)
                if other and response.is_success and draft.request_id is not None:
                    draft.fail(a.MALFORMED, f"answered with {other}, neither JSON nor an event stream")

    async def _read_body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async with _chunks(response) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > self._options.max_answer_bytes:
                    raise StreamTooLarge(f"a body of more than {self._options.max_answer_bytes} bytes")
        return bytes(body)

    async def _read_events(self, response: httpx.Response, draft: Draft, on_message: OnMessage) -> None:
        draft.parser = parser = SseParser(self._options.max_answer_bytes)
        async with _chunks(response) as chunks:
            async for chunk in chunks:
                for event in parser.feed(chunk):
                    await self._take_event(event.data, draft, on_message)
                    if draft.breaks and draft.message is None and event.data and event.id:
                        draft.was_broken = True
                        return
                if draft.message is not None:
                    break
            if draft.message is not None:
                await self._drain(chunks, parser, draft)

    async def _drain(self, chunks: AsyncIterator[bytes], parser: SseParser, draft: Draft) -> None:
        """To the end of the stream, counting an answer that comes again."""
        with suppress(TimeoutError, httpx.TransportError, ValueError, RecursionError):
            # Whatever comes now, the answer is complete: at worst the connection is closed instead of kept.
            async with asyncio.timeout(_REST_OF_STREAM_S):
                async for chunk in chunks:
                    for event in parser.feed(chunk):
                        if event.data:
                            draft.take(json.loads(event.data), self._clock.now())

    async def _take_event(self, data: str, draft: Draft, on_message: OnMessage) -> None:
        if not data:
            return  # the priming event: an id alone
        message = json.loads(data)
        if draft.take(message, self._clock.now()) or not isinstance(message, dict):
            return
        draft.counts(message)
        await on_message(message)


def _chunks(response: httpx.Response) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]:
    return aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_bytes()))


async def _ignore(_: Message) -> None:
    pass


def _media_type(response: httpx.Response) -> str:
    content_type: str = response.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower()


def _fault_of(error: Exception, draft: Draft) -> str:
    if isinstance(error, StreamTooLarge):
        return a.TOO_LARGE
    if isinstance(error, ValueError | RecursionError | httpx.DecodingError):
        return a.MALFORMED  # not JSON, not text, not what its encoding says
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return a.CONNECT_ERROR
    if draft.http_status is not None:
        return a.STREAM_ENDED
    return a.TIMEOUT if isinstance(error, httpx.TimeoutException) else a.CONNECTION_CLOSED
