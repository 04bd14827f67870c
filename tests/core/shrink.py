"""A rollout that breaks a law, made small: fewer steps (delta debugging), plainer numbers; and as a test to paste.

It has to stay the same failure: the same error out of the same function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from enum import Enum
from typing import Any

from rollproof.sim.heap import steps as s
from rollproof.sim.heap.containers import Behaviour
from tests.core.rollouts import Rollout, play_rollout

Failure = tuple[str, str]  # the error's type, the function that raised it


def failure_of(rollout: Rollout) -> tuple[Failure, str] | None:
    """(what failed, its message), or None where all laws hold."""
    try:
        play_rollout(rollout)
    except Exception as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        name = frame.tb_frame.f_code.co_name if frame else ""
        return (type(error).__name__, name), str(error).partition("\n")[0]
    return None


def shrink(rollout: Rollout, most_tries: int = 2_000) -> Rollout:
    """The smallest one found that fails as `rollout` does. ValueError where it does not fail."""
    found = failure_of(rollout)
    if found is None:
        raise ValueError("this rollout breaks no law")
    wanted, tries = found[0], 0

    def fails(other: Rollout) -> bool:
        nonlocal tries
        tries += 1
        now = failure_of(other) if tries <= most_tries else None
        return now is not None and now[0] == wanted

    while True:
        smaller = _plainer(_fewer_steps(rollout, fails), fails)
        if smaller == rollout:
            return smaller
        rollout = smaller


def _fewer_steps(rollout: Rollout, fails: Callable[[Rollout], bool]) -> Rollout:
    """Leaves out ever smaller parts of the steps, as long as it still fails (Zeller's ddmin)."""
    size = max(1, len(rollout.steps) // 2)
    while True:
        at, steps = 0, rollout.steps
        while at < len(steps):
            fewer = replace(rollout, steps=steps[:at] + steps[at + size :])
            if fails(fewer):
                rollout, steps = fewer, fewer.steps
            else:
                at += size
        if size == 1:
            return rollout
        size //= 2


def _plainer(rollout: Rollout, fails: Callable[[Rollout], bool]) -> Rollout:
    """One value after the other replaced by the plainest that still fails."""
    for other in _plainer_services(rollout):
        changed = replace(rollout, **other)
        if changed != rollout and fails(changed):
            rollout = changed
    for place in range(len(rollout.steps)):
        for step in _plainer_steps(rollout.steps[place]):
            if step == rollout.steps[place]:
                break
            changed = replace(rollout, steps=(*rollout.steps[:place], step, *rollout.steps[place + 1 :]))
            if fails(changed):
                rollout = changed
                break
    return rollout


_SERVICE = (
    *("breaker", "percents", "nodes", "grace_s", "delay_s", "runs_s", "seed"),
    *("rebalances", "is_cross_zone", "healthy_percent"),
)


def _plainer_services(rollout: Rollout) -> Iterator[dict[str, Any]]:
    standard = Rollout()
    for name in _SERVICE:
        yield {name: getattr(standard, name)}
    yield {"nodes": 1}
    for desired in range(rollout.desired):
        yield {"desired": desired}


def _plainer_steps(step: s.Step) -> Iterator[s.Step]:
    """Plainest first, `step` itself last."""
    match step:
        case s.Wait():
            yield from (s.Wait(x) for x in (1.0, 9.0, 30.0, 100.0, 700.0))
        case s.Deploy():
            yield s.Force()
            yield s.Deploy(Behaviour())
        case s.Scale(desired_count=count):
            yield from (s.Scale(x) for x in range(count + 1))
        case s.Crash() | s.StopTask() | s.AnswerChecks() | s.CheckContainer() | s.Protect() | s.Interrupt():
            yield from (replace(step, task=x) for x in range(step.task))
        case _:
            pass
    yield step


# --- as Python ----------------------------------------------------------------------------------------------------


def pasteable(rollout: Rollout, seed: int) -> str:
    """A test file: it fails as long as the law is broken, and passes when it is mended."""
    found = failure_of(rollout)
    why = f"{found[0][1]}: {found[1]}" if found else "no law is broken any more"
    text = python_of(rollout)
    used = sorted({type(step).__name__ for step in rollout.steps})
    lines = ["from tests.core.rollouts import Rollout, play_rollout"]
    if "CircuitBreaker(" in text:
        both = "CircuitBreaker, ThresholdType" if "ThresholdType." in text else "CircuitBreaker"
        lines.insert(0, f"from rollproof.core.settings import {both}")
    if "Behaviour(" in text:
        lines.insert(-1, "from rollproof.sim.heap.containers import Behaviour")
    if used:
        lines.insert(-1, f"from rollproof.sim.heap.steps import {', '.join(used)}")
    if "math." in text:
        lines.insert(0, "import math\n")
    doc = f"Found by python -m tests.core.rollouts --count 1 --seed {seed}"
    body = f'def test_rollout_{seed}() -> None:\n    """{doc}\n\n    {why}\n    """\n    play_rollout({text})\n'
    return "\n".join(lines) + "\n\n\n" + body


def python_of(value: Any) -> str:
    """The Python that makes `value`, without what is the default."""
    match value:
        case Enum():
            return f"{type(value).__name__}.{value.name}"
        case float() if math.isinf(value):
            return "math.inf"
        case tuple():
            return f"({', '.join(map(python_of, value))}{',' if len(value) == 1 else ''})"
        case _ if is_dataclass(value):
            given = [(x.name, getattr(value, x.name)) for x in fields(value) if getattr(value, x.name) != _default(x)]
            return f"{type(value).__name__}({', '.join(f'{name}={python_of(x)}' for name, x in given)})"
        case _:
            return repr(value)


def _default(field: Any) -> Any:
    return field.default if field.default is not MISSING else MISSING
