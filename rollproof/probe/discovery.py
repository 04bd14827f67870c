"""Before the first session: does anything answer, and which tools has it? One short session of its own, unrecorded.

The endpoint may need a moment, and behind a balancer without stickiness the session may be opened by one task and
asked about at another, so it is tried again until `start_timeout_s` has passed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rollproof.core.errors import Permanent, Temporary
from rollproof.probe.answer import Answer
from rollproof.probe.client import McpClient
from rollproof.probe.options import Era, ProbeOptions, SessionIds
from rollproof.probe.plan import Plan, choose_plan

_PAUSE_S = 0.2
_LISTINGS = 3  # of one session, before another is opened
_HOPELESS = frozenset({401, 403, 405, 406, 415, 421, 501})  # these answer the same however often one asks


@dataclass(frozen=True)
class Discovery:
    """`session_ids_by` is whose session ids the calls will carry: "server", "client" or "" for none."""

    plan: Plan
    server_name: str
    session_ids_by: str


async def discover(options: ProbeOptions, client: McpClient) -> Discovery:
    """In the era that `options` name. Raises Temporary if no tool list was got in time, Permanent if it was refused
    for good, UsageError as `choose_plan` does."""
    last: Answer | None = None
    try:
        async with asyncio.timeout(options.start_timeout_s):
            while True:
                last, found = await _try(options, client)
                if found is not None:
                    return found
                if _is_hopeless(options, last):
                    break
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        pass
    finally:
        await client.close_wire()
    raise _failure(options, last)


async def _try(options: ProbeOptions, client: McpClient) -> tuple[Answer, Discovery | None]:
    if options.era is Era.LEGACY:
        answer = await client.initialize()
        if not answer.ok:
            return answer, None
        await client.notify_initialized()
    for _ in range(_LISTINGS):
        answer, tools = await client.list_tools()
        if answer.ok:
            found = Discovery(choose_plan(options, tools), client.server_name, client.session_id_by)
            await client.delete()
            return answer, found
    return answer, None


def _failure(options: ProbeOptions, last: Answer | None) -> Permanent | Temporary:
    said = f"{last.signature}: {last.error}" if last and last.error != last.signature else last and last.signature
    what = f"no MCP server answers at {options.endpoint}"
    if last is None:
        return Temporary(f"{what} within {options.start_timeout_s:g} s", hint="is it running, and is the path right?")
    if last.http_status in {401, 403}:
        return Permanent(f"{what} ({said})", hint="give the headers that it asks for")
    if last.http_status == 404 and last.rpc_error is None:
        return Permanent(f"{what} ({said})", hint="is the path right? It is often /mcp")
    if options.era is Era.MODERN and last.http_status == 400:
        return Permanent(
            f"{what} ({said})", hint="does it speak protocol 2026-07-28? Most servers speak the legacy era"
        )
    if options.session_ids is SessionIds.HANDLE and last.http_status == 400:
        return Permanent(f"{what} ({said})", hint="with handles no session id is sent: is its transport stateless?")
    kind = Permanent if _is_hopeless(options, last) else Temporary
    return kind(f"{what} ({said})", hint="is it running, and does it speak Streamable HTTP?")


def _is_hopeless(options: ProbeOptions, answer: Answer) -> bool:
    """The same question would get the same answer."""
    status = answer.http_status or 0
    is_wrong_path = status == 404 and answer.rpc_error is None
    is_wrong_era = status == 400 and (options.era is Era.MODERN or options.session_ids is SessionIds.HANDLE)
    return status in _HOPELESS or 300 <= status < 400 or is_wrong_path or is_wrong_era
