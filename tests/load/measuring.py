"""How throughput, latency, CPU and memory are measured: wrk against one subject after the other, in turns.

CPU is user and system time of all of a subject's processes, divided by the requests answered; memory is their share of
what they have in memory. Others may use the machine meanwhile: subjects are measured in turns, forwards and backwards,
and compared within a round, so that a drift cancels.
"""

from __future__ import annotations

import asyncio
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Subject:
    """Something that answers on a port. CPU and memory are those of `root` and below; 0: not measured."""

    name: str
    port: int
    root: int = 0
    cookie: str = ""


@dataclass(frozen=True)
class Load:
    """What wrk does. `script` is Lua, run once."""

    seconds: int
    connections: int
    path: str = "/"
    script: Path | None = None


@dataclass(frozen=True)
class Sample:
    """One round. NaN: not measured."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    memory_mib: float
    failed: int


Rounds = dict[str, list[Sample]]
"""By subject."""


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# --- one round ----------------------------------------------------------------------------------------------


def measure(subject: Subject, load: Load) -> Sample:
    processes = _family(subject.root) if subject.root else []
    before = _cpu_s(processes)
    said = _wrk(subject, load)
    used = _cpu_s(processes) - before
    requests = int(_found(r"(\d+) requests in", said))
    if not requests:
        raise SystemExit(f"{subject.name} answered nothing:\n{said}")
    return Sample(
        per_second=float(_found(r"Requests/sec:\s+([\d.]+)", said)),
        p50_ms=_milliseconds(_found(r"\n\s+50%\s+(\S+)", said)),
        p99_ms=_milliseconds(_found(r"\n\s+99%\s+(\S+)", said)),
        cpu_us=used / requests * 1e6 if processes else math.nan,
        memory_mib=sum(map(_memory, processes)) / 2**20 if processes else math.nan,
        failed=sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", said))),
    )


def _wrk(subject: Subject, load: Load) -> str:
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{load.seconds}s", "--latency"]
    command += ["-H", f"Cookie: {subject.cookie or 'none=1'}"]
    command += ["-s", str(load.script)] if load.script else []
    url = f"http://127.0.0.1:{subject.port}{load.path}"
    return subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout


def _family(root: int) -> list[psutil.Process]:
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(map(_own_cpu_s, processes))


def _own_cpu_s(process: psutil.Process) -> float:
    """From the scheduler's own clock where there is one: a tick of 10 ms may be half of what a quiet process needs."""
    with suppress(OSError, ValueError):
        threads = list(Path(f"/proc/{process.pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    times = process.cpu_times()
    return times.user + times.system


def _memory(process: psutil.Process) -> int:
    """Pages that several processes share count once."""
    with suppress(psutil.Error, AttributeError):
        return int(process.memory_full_info().pss)
    return int(process.memory_info().rss)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said no {pattern!r}:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]  # wrk's own form
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[unit]


# --- all rounds ---------------------------------------------------------------------------------------------


async def take_turns(subjects: Sequence[Subject], load: Load, rounds: int) -> Rounds:
    samples: Rounds = {subject.name: [] for subject in subjects}
    for turn in range(rounds):
        for subject in subjects if turn % 2 == 0 else reversed(subjects):
            samples[subject.name].append(await asyncio.to_thread(measure, subject, load))
    return samples


def table(samples: Rounds, *, ratios_to: Sequence[str] = ()) -> list[str]:
    """In Markdown; with the throughput's ratio to each of `ratios_to`, of the same round."""
    heads = ["", "req/s", *(f"of {name}, by rounds" for name in ratios_to)]
    heads += ["p50 ms", "p99 ms", "CPU us a request (each round)", "MiB", "failed"]
    lines = [_row(heads), "|" + "---|" * len(heads)]
    for name, rounds in samples.items():
        cells = [name, f"{_median(rounds, lambda s: s.per_second):.0f}"]
        cells += ["1" if name == other else _ratio(rounds, samples[other]) for other in ratios_to]
        cells += [f"{_median(rounds, lambda s: s.p50_ms):.2f}", f"{_median(rounds, lambda s: s.p99_ms):.2f}"]
        cells += [_cpu(rounds), _number(_median(rounds, lambda s: s.memory_mib))]
        lines.append(_row([*cells, str(sum(s.failed for s in rounds))]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _median(rounds: Sequence[Sample], field: Callable[[Sample], float]) -> float:
    return statistics.median(map(field, rounds))


def _ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> str:
    """Median, and the lowest and highest: how far the rounds agree."""
    ratios = [one.per_second / other.per_second for one, other in zip(ours, theirs, strict=True)]
    return f"**{statistics.median(ratios):.3f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def _cpu(rounds: Sequence[Sample]) -> str:
    each = [sample.cpu_us for sample in rounds]
    if math.isnan(each[0]):
        return ""
    return f"**{statistics.median(each):.0f}** ({', '.join(f'{value:.0f}' for value in each)})"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}"
