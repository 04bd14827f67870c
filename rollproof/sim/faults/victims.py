"""Who is hit: `of it`, `of oldest`, `of random`, `of s02`, ... Pure.

a task      it (of the moment: the target that drains), oldest, newest, random, all, or the first digits of its id
a node      it, random, all, node-1
a session   random, all, s02
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from rollproof.core.errors import UsageError
from rollproof.core.task import Task, TaskStatus
from rollproof.core.world import World
from rollproof.sim.faults.fault import Hits
from rollproof.sim.faults.moments import Entered

IT, OLDEST, NEWEST, RANDOM, ALL = "it", "oldest", "newest", "random", "all"
_ID_DIGITS_AT_LEAST = 4

WORDS = {
    Hits.TASK: (IT, OLDEST, NEWEST, RANDOM, ALL),
    Hits.NODE: (IT, RANDOM, ALL),
    Hits.SESSION: (RANDOM, ALL),
}


def victims(
    hits: Hits, who: str, entered: Entered | None, world: World, sessions: Sequence[str], chance: Random
) -> list[str]:
    """The names of those hit; [""] for a fault of the service or of Redis. `entered`: what the moment was about.

    Without `who`: the one that the moment is about, else the oldest task, or a node or session drawn by chance.
    Raises UsageError for one that does not exist.
    """
    match hits:
        case Hits.TASK:
            return _tasks(who, entered, world, chance)
        case Hits.NODE:
            it = entered.node if entered else ""
            return _named(hits, who or (IT if it else RANDOM), it, world.rules.node_ids, chance)
        case Hits.SESSION:
            return _named(hits, _same_session(who, sessions) or RANDOM, "", sessions, chance)
        case Hits.REDIS | Hits.SERVICE:
            if who:
                raise UsageError(f"of {who}: this fault is the whole {hits}'s", hint="leave `of ...` out")
            return [""]


def _tasks(who: str, entered: Entered | None, world: World, chance: Random) -> list[str]:
    it = entered.task_id if entered else ""
    who = who or (IT if it else OLDEST)
    running = sorted((x for x in world.tasks.values() if _is_served_by(x)), key=lambda x: x.created_at)
    wanted = [x for x in running if x.is_wanted] or running
    if who in (OLDEST, NEWEST) and wanted:
        return [wanted[0 if who == OLDEST else -1].id]
    ids = [x.id for x in running]
    if len(who) >= _ID_DIGITS_AT_LEAST and who not in WORDS[Hits.TASK]:
        ids = [x for x in world.tasks if x.startswith(who)]
        who = ids[0] if len(ids) == 1 else who
    return _named(Hits.TASK, who, it, ids, chance)


def _same_session(who: str, sessions: Sequence[str]) -> str:
    """Names have as many digits as the highest number: "s02" is "s2" where there are fewer than ten."""
    bare = who.lstrip("s").lstrip("0")
    return next((name for name in sessions if name.lstrip("s").lstrip("0") == bare), who) if bare else who


def _is_served_by(task: Task) -> bool:
    """It has a process, or is about to: a task that is gone cannot be hit."""
    return task.known < TaskStatus.DEPROVISIONING and bool(task.address)


def _named(hits: Hits, who: str, it: str, names: Sequence[str], chance: Random) -> list[str]:
    if who == IT and it:
        return [it]
    if who == ALL and names:
        return list(names)
    if who == RANDOM and names:
        return [chance.choice(list(names))]
    if who in names:
        return [who]
    if who == IT:
        raise UsageError(f"of it: the moment is about no {hits}", hint=f"of {' | '.join(WORDS[hits][1:])}")
    listed = ", ".join(name[:8] for name in names) or "there is none"
    raise UsageError(f"of {who}: no such {hits}", hint=f"{' | '.join(WORDS[hits])}, or one of: {listed}")
