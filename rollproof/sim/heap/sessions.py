"""Modelled sessions in a heap world: which target each call reaches, by the core's own routing, and what that does.

A session is looked at only when its calls may end otherwise than the one before: when its node stops obeying the
cookie that binds it (it learned that the target drains, or is unhealthy, or gone), or when its container breaks. Until
then it stands in the group of its node and target, and costs nothing; so a million sessions cost a million steps and
not two hundred million calls. Sessions that no cookie binds and any task serves are not looked at while no broken
target may be chosen.

Without stickiness other requests come in between, now and then: clients as regular as these would else meet the same
target at each of their turns, which no real ones do.

Calls fail on a container that is gone or hangs (health_status None); one that only answers its checks with an error
still answers calls. A call in flight when its target is removed or its container exits is cut, and so are streams.
"""

from __future__ import annotations

import heapq
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable
from math import ceil, isnan
from random import Random

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import target_group as tg
from rollproof.core.errors import NotModelled
from rollproof.core.routing import choose, stuck_target
from rollproof.core.settings import Routing
from rollproof.core.stickiness import target_key
from rollproof.core.world import World
from rollproof.sim.heap.clients import Clients, Fate, Outcomes, SessionsIn
from rollproof.sim.heap.node_routes import NodeRoutes
from rollproof.sim.heap.world import Happened, HeapWorld

NOWHERE = ""
_TOLD_EVERY = 512  # steps of the core, sessions
NO_TARGET = "no target to route to (503)"
CUT = "call in flight cut with its target"


class Sessions:
    """`begin` once the service is steady; then they follow the heap world by themselves, until `finish`.

    `tell` is called again and again, for whoever waits meanwhile.
    """

    def __init__(
        self, heap: HeapWorld, clients: Clients, random: Random, tell: Callable[[], None] = lambda: None
    ) -> None:
        self.tell = tell
        settings = heap.world.settings
        if settings.platform.routing is not Routing.COOKIES:
            raise NotModelled(
                f"the heap world does not play routing {settings.platform.routing}",
                hint="platforms fargate, fargate-no-sticky and app-runner work; or rehearse it on the local stage",
            )
        stickiness = settings.target_group.stickiness
        self.outcomes = Outcomes(clients.count)
        self._heap, self._clients, self._random = heap, clients, random
        self._is_sticky = stickiness.enabled and stickiness.duration_s >= clients.call_interval_s
        self._nodes = [NodeRoutes(node_id) for node_id in heap.world.rules.node_ids]
        self._number = {node.node_id: n for n, node in enumerate(self._nodes)}
        self._first = array("d", [0.0]) * clients.count
        self._at = [NOWHERE] * clients.count  # the target that answered last
        self._groups: list[dict[str, list[int]]] = [defaultdict(list) for _ in self._nodes]
        self._roaming: list[list[int]] = [[] for _ in self._nodes]
        self._waiting: list[list[tuple[float, int]]] = [[] for _ in self._nodes]  # heaps of (next call, session)
        self._turns = [0] * len(self._nodes)
        self._streams: dict[str, list[int]] = defaultdict(list)  # target -> whose streams are open on it
        self._learning: list[tuple[float, int, str]] = []  # heap of (when, node, of which target)
        self._broken: dict[str, str] = {}  # target -> why its calls fail
        self._gone: set[str] = set()  # targets whose container has exited, and its memory with it
        self._why: dict[str, str] = {}  # target -> why sessions leave it
        self._world = heap.world

    def begin(self) -> None:
        """Every session makes its first call within one interval from now; the heap world goes on that long."""
        heap, interval_s = self._heap, self._clients.call_interval_s
        for node in self._nodes:
            node.load(heap.world, heap.now)
        for task in heap.world.tasks.values():
            self._look_at(task.id, task.address)
        self._first = array("d", (heap.now + interval_s * self._random.random() for _ in self._first))
        count = len(self._nodes)
        for number in sorted(range(len(self._first)), key=self._first.__getitem__):
            self._call(number, number % count, self._first[number])
        heap.checks.append(self._follow)
        heap.listeners.append(self._behaves)
        heap.run(interval_s)

    def finish(self) -> int:
        """All calls until now. Returns how many were made."""
        heap, interval_s = self._heap, self._clients.call_interval_s
        self._advance(heap.now)
        heap.checks.remove(self._follow)
        heap.listeners.remove(self._behaves)
        lives = zip(self._first, self.outcomes.lost_at, strict=True)
        ends = ((first, heap.now if isnan(lost) else lost) for first, lost in lives)
        return sum(int((end - first) / interval_s + 1e-9) + 1 for first, end in ends)

    # -- what happens around them ------------------------------------------------------------------------------

    def _follow(self, before: World, happened: Happened, after: World, now: float) -> None:
        if self._heap.steps % _TOLD_EVERY == 0:
            self.tell()
        match happened:
            case e.HealthCheckAnswered(node=node, target_id=target_id):
                old, new = before.targets.get(target_id), after.targets.get(target_id)
                if old is not None and new is not None and old.nodes[node].state is not new.nodes[node].state:
                    self._advance(now)
                    self._why[target_id] = "target unhealthy"
                    self._world = after
                    self._reroute(self._number[node], target_id, now)
            case c.RegisterTarget(task_id=task_id):
                self._advance(now)
                self._world = after
                for number in range(len(self._nodes)):
                    self._reroute(number, after.tasks[task_id].address, now)
            case c.DeregisterTarget(task_id=task_id):
                self._advance(now)
                self._world = after
                target = after.targets[after.tasks[task_id].address]
                self._why.setdefault(target.id, "target draining")
                for number in range(len(self._nodes)):
                    self._learns(number, target, now)
            case e.NodeLagChanged(node=node) if node in self._number:
                self._advance(now)
                self._world = after
                for target in after.targets.values():
                    if target.draining_at is not None:
                        self._reroute(self._number[node], target.id, now)
                        self._learns(self._number[node], target, now)
            case c.RemoveTarget(target_id=target_id):
                self._advance(now)
                self._world = after
                for number in range(len(self._nodes)):
                    self._reroute(number, target_id, now)
                self._cut_streams(target_id, now)
            case e.ContainerExited(task_id=task_id):
                if task_id in after.tasks and (address := after.tasks[task_id].address):
                    self._break(address, "container exited", now)
            case _:
                pass

    def _learns(self, number: int, target: tg.Target, now: float) -> None:
        """Notes when this node will learn that the target drains."""
        learned_at = tg.learned_at(target, self._nodes[number].node_id, self._world.rules)
        if learned_at is not None and learned_at >= now:
            heapq.heappush(self._learning, (learned_at, number, target.id))

    def _behaves(self, task_id: str, now: float) -> None:
        self._advance(now)
        self._world = self._heap.world
        self._look_at(task_id, self._world.tasks[task_id].address)

    def _look_at(self, task_id: str, address: str) -> None:
        """A container's behaviour has changed: it may hang now, or no more."""
        hangs = self._heap.containers.behaviour_of(self._heap.world.tasks[task_id]).health_status is None
        if hangs:
            self._break(address, "container hangs", self._heap.now)
        elif address in self._broken and address not in self._gone:
            del self._broken[address]

    def _break(self, address: str, why: str, now: float) -> None:
        if address in self._gone:
            return
        self._advance(now)
        self._broken[address] = self._why[address] = why
        if why == "container exited":
            self._gone.add(address)
            self._cut_streams(address, now)
        for number, node in enumerate(self._nodes):
            self._disperse(number, address, now, now)
            if node.can_choose({address}):
                self._wait(number, self._take_roaming(number), now)

    def _advance(self, until: float) -> None:
        """Everything that comes before `until`: nodes that learn of a drain, and the calls in between."""
        while self._learning and self._learning[0][0] <= until:
            at, number, target_id = heapq.heappop(self._learning)
            if target_id in self._world.targets:
                self._flush(number, at)
                self._reroute(number, target_id, at)
        for number in range(len(self._nodes)):
            self._flush(number, until)

    def _reroute(self, number: int, target_id: str, now: float) -> None:
        """A node sees this target otherwise. Its earlier calls are made."""
        node = self._nodes[number]
        self._flush(number, now)
        changes_others = node.update(self._world, target_id, now)
        if self._is_sticky:
            for other in list(self._groups[number]) if changes_others else [target_id]:
                if not node.obeys(other):
                    self._disperse(number, other, now, self._ends_at(other, now))
        else:
            for other in list(self._groups[number]):
                self._disperse(number, other, now, self._ends_at(other, now))
        if node.can_choose(set(self._broken)):
            self._wait(number, self._take_roaming(number), now)

    def _ends_at(self, target_id: str, now: float) -> float:
        """When what is in flight on this target is cut."""
        target = self._world.targets.get(target_id)
        ends = now if target is None else tg.drained_at(target, self._world.rules)
        return float("inf") if ends is None else ends

    # -- groups of sessions -------------------------------------------------------------------------------------

    def _disperse(self, number: int, target_id: str, now: float, cut_at: float) -> None:
        """The group's next calls are looked at one by one; those in flight at `cut_at` fail."""
        members = self._groups[number].pop(target_id, None)
        if not members:
            return
        if cut_at < now + self._clients.answer_s:
            members = [x for x in members if not self._cut(x, now, cut_at)]
        self._wait(number, members, now)

    def _cut(self, session: int, now: float, cut_at: float) -> bool:
        """Whether its last call before `now` is still in flight at `cut_at`, and its session lost with that."""
        last = self._next_call(session, now) - self._clients.call_interval_s
        if last < self._first[session] or last + self._clients.answer_s <= cut_at:
            return False
        loses = self._clients.lives is SessionsIn.MEMORY and self._at[session] in self._gone
        self.outcomes.fail(session, last, CUT, Fate.LOST if loses else Fate.DEGRADED)
        return loses

    def _wait(self, number: int, sessions: Iterable[int], now: float) -> None:
        waiting = self._waiting[number]
        for session in sessions:
            heapq.heappush(waiting, (self._next_call(session, now), session))

    def _take_roaming(self, number: int) -> list[int]:
        taken, self._roaming[number] = self._roaming[number], []
        return taken

    def _next_call(self, session: int, now: float) -> float:
        first, interval_s = self._first[session], self._clients.call_interval_s
        return first if now <= first else first + ceil((now - first) / interval_s) * interval_s

    def _flush(self, number: int, until: float) -> None:
        """Calls before `until`, of those that are looked at one by one."""
        waiting = self._waiting[number]
        while waiting and waiting[0][0] < until:
            at, session = heapq.heappop(waiting)
            self._call(session, number, at)

    # -- one call -------------------------------------------------------------------------------------------------

    def _call(self, session: int, number: int, at: float) -> None:
        if session % _TOLD_EVERY == 0:
            self.tell()
        old = self._at[session]
        target_id = self._route(number, old, at)
        if not target_id or target_id in self._broken:
            why = self._broken[target_id] if target_id else NO_TARGET
            if self._fail(session, at, why, loses=old in self._gone and old == target_id):
                self._wait_on(number, session, at)
        elif old and old != target_id and self._clients.lives is not SessionsIn.REDIS:
            if self._fail(session, at, self._why.get(old, "another target, no cookie binds"), loses=True):
                self._settle(session, number, target_id, at)
        else:
            self._settle(session, number, target_id, at)

    def _route(self, number: int, old: str, at: float) -> str:
        """The target of a call, or "" where there is none."""
        node = self._nodes[number]
        view = node.view(self._world)
        if self._is_sticky and old and (stuck := stuck_target(view, target_key(old))) is not None:
            return stuck.id
        turn = self._turns[number]
        draw, elapsed_s = self._random.random(), at - node.changed_at
        self._turns[number] = turn + 1 if self._is_sticky else turn + 1 + (self._random.random() < 0.5)
        chosen = choose(view, turn=turn, outstanding={}, draw=draw, elapsed_s=elapsed_s)
        return "" if chosen is None else chosen.id

    def _fail(self, session: int, at: float, why: str, *, loses: bool) -> bool:
        """Whether the session goes on."""
        is_over = loses and self._clients.lives is SessionsIn.MEMORY
        self.outcomes.fail(session, at, why, Fate.LOST if is_over else Fate.DEGRADED)
        return not is_over

    def _settle(self, session: int, number: int, target_id: str, at: float) -> None:
        """The call was answered by this target. Who needs no looking at for now joins a group."""
        old, self._at[session] = self._at[session], target_id
        if not old and self._clients.streams:
            self._streams[target_id].append(session)
        if old and old != target_id and self._is_sticky:
            self.outcomes.moves.append(at)
        if self._is_sticky or self._nodes[number].only() == target_id:
            self._groups[number][target_id].append(session)
        elif self._clients.lives is SessionsIn.REDIS and not self._nodes[number].can_choose(set(self._broken)):
            self._roaming[number].append(session)
        else:
            self._wait_on(number, session, at)

    def _wait_on(self, number: int, session: int, at: float) -> None:
        heapq.heappush(self._waiting[number], (at + self._clients.call_interval_s, session))

    def _cut_streams(self, target_id: str, now: float) -> None:
        """Their clients open them anew, where a session goes on: at the target that answers it now, if another."""
        cut = self._streams.pop(target_id, [])
        if not cut:
            return
        self.outcomes.streams_cut[now] += len(cut)
        for session in cut:
            if self.outcomes.fates[session] != Fate.LOST and self._at[session] not in ("", target_id):
                self._streams[self._at[session]].append(session)
