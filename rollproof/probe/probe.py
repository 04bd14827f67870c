"""The probe: many MCP sessions at once that call through a rollout and write down every answer.

    probe = Probe(options, recorder, clock, random=Random(seed))
    run = asyncio.create_task(probe.run(stop))
    await probe.warmed_up(within_s=60)   # every session has written and read once
    ...                                  # the rollout
    stop.set()
    await run

One event loop, one task a session (one more for an open stream, one for slow calls); each session has its own
connections and its own cookie jar. Cancelling `run` closes every connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from random import Random
from secrets import token_hex
from uuid import uuid4

from rollproof.core.errors import Temporary
from rollproof.history import Clock, Recorder
from rollproof.probe.client import McpClient
from rollproof.probe.cookies import CookieJar
from rollproof.probe.discovery import Discovery, discover
from rollproof.probe.options import CookieMode, Era, ProbeOptions
from rollproof.probe.records import Progress, SessionLog
from rollproof.probe.session import Pace, ProbeSession
from rollproof.probe.waiting import wait
from rollproof.probe.wire import TransportFactory, Wire, http_transports

_UNRECORDED = frozenset({"headers", "arguments"})  # may hold secrets


class Probe:
    """`random` gives the sessions their phases. `transports` replaces the network, `new_id` the ids that clients
    make; both default to the real thing. Ids are not drawn from `random`: a second run with the same seed against a
    store that remembers must not meet the state of the first.
    """

    def __init__(
        self,
        options: ProbeOptions,
        recorder: Recorder,
        clock: Clock,
        *,
        random: Random | None = None,
        transports: TransportFactory | None = None,
        new_id: Callable[[], str] = lambda: f"client-{uuid4()}",
    ) -> None:
        options.validate()
        self.options = options
        self.progress = Progress(sessions=options.sessions)
        self._recorder = recorder
        self._clock = clock
        self._random = random or Random(0)
        self._transports = transports or http_transports(options)
        self._new_id = new_id
        self._run_id = token_hex(4)  # two probes of one server are not to mistake each other's announcements
        self._at_work: dict[str, tuple[ProbeSession, asyncio.Task[None]]] = {}
        self._reopen: Callable[[str], None] = lambda _name: None
        self._settled = asyncio.Event()  # warmed up, or ended
        self._all_tried = asyncio.Event()  # likewise

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until every session has made its calls. Raises Temporary or Permanent if the endpoint
        does not answer at all, UsageError if the plan asks for what the server lacks; nothing is left running."""
        try:
            found = await self._discover(stop)
            if found is None:
                return
            self._record_settings(list(found.values()))
            operation_s = self.options.delay_s * max(len(each.plan.steps("", 1)) for each in found.values())
            phases = spread(self.options.sessions, operation_s, self._random)
            async with asyncio.TaskGroup() as group:

                def begin(index: int, phase_s: float, again: int = 0) -> None:
                    session = self._session(index, phase_s, found, again)
                    self._at_work[session.name] = session, group.create_task(session.run(stop))

                self._reopen = lambda name: begin(*self._place_of(name))
                for index, phase_s in enumerate(phases):
                    begin(index, phase_s)
            self._reopen = lambda _name: None
            self._recorder.record("mark", name="probe-ended")
        finally:
            self._settled.set()
            self._all_tried.set()

    async def warmed_up(self, within_s: float | None = None) -> None:
        """Wait until every session has done its first operation without a fault. Raises Temporary if the time is
        over or the probe has ended before that."""
        await wait(self._settled, within_s)
        progress = self.progress
        if progress.warmed_up < progress.sessions:
            last = f"; the last failure was {progress.last_failure}" if progress.last_failure else ""
            why = "before the probe ended" if self._settled.is_set() else f"within {within_s:g} s"
            raise Temporary(
                f"{progress.warmed_up} of {progress.sessions} sessions have done a whole operation {why}{last}",
                hint="does the server work before anything is replaced? Try it with one session",
            )

    async def all_tried(self, within_s: float) -> None:
        """As `warmed_up`, but faults do not count: where nothing leads a client back to its instance, sessions may
        be lost before anything is done to the service, and that is what is to be shown."""
        await wait(self._all_tried, within_s)
        if self.progress.tried < self.progress.sessions:
            raise Temporary(
                f"{self.progress.tried} of {self.progress.sessions} sessions have called; the last failure was "
                f"{self.progress.last_failure or 'none'}",
                hint="does the server work at all? Try it with one session",
            )

    # --- what faults do to clients ------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Sessions whose clients are at work."""
        return tuple(name for name, (_, task) in self._at_work.items() if not task.done())

    def lose_cookies(self, name: str) -> None:
        """The client forgets its cookies, and nothing else."""
        self._at_work[name][0].lose_cookies()

    async def crash(self, name: str) -> None:
        """The client dies: its kernel closes its connections, and what it was waiting for nobody hears."""
        task = self._at_work[name][1]
        task.cancel()
        await asyncio.wait({task})
        self._recorder.record("session", session=name, event="crashed")

    def reopen(self, name: str) -> None:
        """As a new client, with a session of its own: "s02" comes back as "s02-2"."""
        self._reopen(name)

    def _place_of(self, name: str) -> tuple[int, float, int]:
        first, _, again = name.partition("-")
        return int(first[1:]) - 1, 0.0, int(again or 1) + 1

    async def _discover(self, stop: asyncio.Event) -> Mapping[Era, Discovery] | None:
        """What each era that is spoken finds; None if told to stop meanwhile."""
        search = asyncio.create_task(self._search())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((search, stopped), return_when=asyncio.FIRST_COMPLETED)
            return search.result() if search.done() else None
        finally:
            search.cancel()
            stopped.cancel()
            await asyncio.gather(search, stopped, return_exceptions=True)

    async def _search(self) -> Mapping[Era, Discovery]:
        found = {}
        for era in self.options.eras:
            options = self.options.in_era(era)
            found[era] = await discover(options, McpClient(options, self._wire(CookieMode.FULL), self._new_id()))
        return found

    def _wire(self, cookies: CookieMode) -> Wire:
        return Wire(self.options, self._transports, CookieJar(self.options.endpoint, cookies), self._clock)

    def _session(self, index: int, phase_s: float, found: Mapping[Era, Discovery], again: int = 0) -> ProbeSession:
        """`again`: its place was that of one that crashed; this number goes into its name, and nobody waits for it.

        Both eras take turns; which sessions are slow, and which activity each begins with, is counted within one."""
        position, turn = divmod(index, len(self.options.eras))
        era = self.options.eras[turn]
        options, plan = self.options.in_era(era), found[era].plan
        name = f"s{index + 1:0{len(str(options.sessions))}d}"
        name += f"-{again}" if again else ""
        first_pause_s = 0.0 if again else options.ramp_up_s * index / options.sessions + phase_s
        is_slow = bool(options.slow_every) and position % options.slow_every == 0
        warm_activities = self.options.first_activities

        def new_client() -> McpClient:
            return McpClient(options, self._wire(options.cookies), self._new_id())

        return ProbeSession(
            name,
            options,
            plan,
            Pace(first_pause_s, is_slow, position * warm_activities, warm_activities),
            mark=f"{name}.{self._run_id}",
            client=new_client(),
            new_client=new_client,
            log=SessionLog(name, era.value, self._recorder, self.progress),
            on_warm=_nobody_waits if again else self._note_warm,
            on_tried=_nobody_waits if again else self._note_tried,
        )

    def _note_warm(self) -> None:
        self.progress.warmed_up += 1
        if self.progress.warmed_up == self.progress.sessions:
            self._recorder.record("mark", name="warmed-up")
            self._settled.set()

    def _note_tried(self) -> None:
        self.progress.tried += 1
        if self.progress.tried == self.progress.sessions:
            self._all_tried.set()

    def _record_settings(self, found: Sequence[Discovery]) -> None:
        """`found` is the legacy era's first. The modern one has no initialize, which would name the server."""
        for option in fields(self.options):
            value = getattr(self.options, option.name)
            if option.name not in _UNRECORDED:
                self._recorder.record("setting", name=f"probe.{option.name}", value=_plain(value), source="probe")
        facts = {
            "plan": found[0].plan.name,
            "missing_tools": list(dict.fromkeys(tool for each in found for tool in each.plan.missing)),
            "server_name": found[0].server_name,
            "session_ids_by": ", ".join(dict.fromkeys(each.session_ids_by for each in found)),
        }
        for name, value in facts.items():
            self._recorder.record("setting", name=f"probe.{name}", value=value, source="the server")


def _nobody_waits() -> None:
    pass


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.value if isinstance(value, Enum) else value


def spread(sessions: int, operation_s: float, random: Random) -> list[float]:
    """When each session begins: evenly over the length of one operation, in an order drawn by chance.

    At any moment every step of the operation is then some session's next one. Drawn independently, or over less than
    an operation, all could be between a read and the next write when they move, and no split pair would be seen.
    """
    slots = [operation_s * (slot + random.random()) / sessions for slot in range(sessions)]
    random.shuffle(slots)
    return slots if sessions > 1 else [0.0]
