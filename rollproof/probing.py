"""Sessions on a stage that is open: begun, warmed up, ended; and what their calls cost, measured apart.

Whatever is waited for here ends with the stage: its error is then ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from random import Random
from typing import Any

from rollproof.core.errors import Temporary
from rollproof.history import HistoryList, Recorder
from rollproof.orchestrator.stage import Stage
from rollproof.probe import Probe, ProbeOptions

MEASURED_DELAY_S = 0.2
_WARM_UP_S = 60.0
_STEPS_AT_MOST = 6  # before a session's first operation is done: its phase, and the operation itself
_IDLE_S = 3.0


@asynccontextmanager
async def probing(
    stage: Stage, options: ProbeOptions, mcp_path: str, seed: int, recorder: Recorder | None = None
) -> AsyncIterator[Probe]:
    """Sessions that call until the block ends; then each reads its state once more. `recorder`: else the history."""
    options = replace(options, endpoint=stage.endpoint + mcp_path)
    probe = Probe(options, recorder or stage.history, stage.clock, random=Random(seed))
    stop = asyncio.Event()
    run = asyncio.create_task(probe.run(stop))
    try:
        yield probe
        stop.set()
        await run
    except Temporary:
        if run.done() and not run.cancelled() and run.exception() is not None:
            run.result()  # what ended the probe says more than that it has ended
        raise
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def warm_up(stage: Stage, probe: Probe, *, is_needed: bool = True) -> bool:
    """Until every session has written and read once; where that is not needed, until each has tried. Have all?

    Raises Temporary where they have not, and have to.
    """
    within_s = _WARM_UP_S + _STEPS_AT_MOST * probe.options.delay_s + probe.options.activities_warm_up_s
    await together(stage, probe.warmed_up(within_s) if is_needed else probe.all_tried(within_s))
    return probe.progress.warmed_up >= probe.progress.sessions


async def measure(stage: Stage, options: ProbeOptions, mcp_path: str, seed: int, seconds: float) -> None:
    """What the service uses by itself, and with calls: four `usage` records, the last one with the calls.

    The calls are those of sessions of their own, which write, increment and read, and are not judged: nothing else
    of them is in the history. Sessions that cannot even begin are not measured.
    """
    await _used(stage, "idle", "begin")
    await together(stage, asyncio.sleep(min(_IDLE_S, seconds)))
    await _used(stage, "idle", "end")
    plain = replace(options, activities=(), slow_every=0, delay_s=MEASURED_DELAY_S)
    apart = HistoryList(stage.clock)
    with suppress(Temporary):
        async with probing(stage, plain, mcp_path, seed, apart) as probe:
            await warm_up(stage, probe, is_needed=False)
            await _used(stage, "calls", "begin")
            begun = len(apart.records)
            await together(stage, asyncio.sleep(seconds))
            calls = [record for record in apart.records[begun:] if record["kind"] == "call"]
            latencies = [round(record["latency_s"], 4) for record in calls if record["ok"]]
            await _used(stage, "calls", "end", calls=len(calls), latencies_s=latencies)
    if stage.running.done():
        stage.running.result()


async def _used(stage: Stage, phase: str, event: str, **fields: Any) -> None:
    stage.history.record("usage", phase=phase, event=event, **asdict(await stage.usage()), **fields)


async def together(stage: Stage, waiting: Awaitable[Any]) -> None:
    """Wait, but not longer than the stage itself lives. Raises its error, or Temporary where it ended without one."""
    task = asyncio.ensure_future(waiting)
    try:
        await asyncio.wait({task, stage.running}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            stage.running.result()
            raise Temporary("the stage ended by itself", hint="see orchestrator records in history.jsonl")
        task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
