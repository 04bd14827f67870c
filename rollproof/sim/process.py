"""One task's process, in this one: what belongs to it, how it is signalled, and how it ends.

What a process starts knows whose it is by a context variable, which asyncio hands on to every callback and task. So a
process can be stopped as a whole: its connections close, its coroutines are cancelled, and what those still do on their
way out reaches nobody, as after a SIGKILL nothing would be done at all.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import traceback
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollproof.sim.network import Network

CURRENT: contextvars.ContextVar[SimProcess | None] = contextvars.ContextVar("rollproof_sim_process", default=None)
"""Whose code runs at the moment; None: the simulation's own."""

KILLED = 137  # 128 + SIGKILL, as ECS shows it
Programme = Callable[["SimProcess"], Coroutine[Any, Any, int]]
"""What runs in a process: its exit code."""


class ProcessExit(Exception):
    """Ends the current process from anywhere in its programme."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class SimProcess:
    """`host` is its address in the network, `environment` what `os.environ` would hold.

    `on_exit` is called once, with the exit code.
    """

    def __init__(
        self,
        name: str,
        host: str,
        environment: Mapping[str, str],
        network: Network,
        log: Path,
        on_exit: Callable[[int], None],
    ) -> None:
        self.name, self.host, self.environment = name, host, dict(environment)
        self.network = network
        self.handlers: dict[int, Callable[[], object]] = {}
        self.state: dict[str, Any] = {}  # what libraries keep once a process
        self.signalled = asyncio.Event()
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.exit_code: int | None = None
        self.is_frozen = False
        self._log, self._on_exit = log, on_exit
        self._main: asyncio.Task[int] | None = None
        self._context = contextvars.copy_context()
        self._context.run(CURRENT.set, self)

    @property
    def is_running(self) -> bool:
        return self.exit_code is None

    def start(self, programme: Programme) -> None:
        loop = asyncio.get_running_loop()
        self._main = loop.create_task(programme(self), name=self.name, context=self._context)
        self._main.add_done_callback(self._ended)

    def write_log(self, text: str) -> None:
        """What it says once it has ended, nobody hears."""
        if not self.is_running:
            return
        with self._log.open("a", encoding="utf-8") as file:
            file.write(text)

    def send_signal(self, number: int) -> None:
        """SIGKILL ends it, SIGSTOP and SIGCONT hold and release it, others go to its handler; without one it dies."""
        if not self.is_running:
            return
        if number == signal.SIGKILL:
            self._end(KILLED)
        elif number in (signal.SIGSTOP, signal.SIGCONT):
            self.is_frozen = number == signal.SIGSTOP
            self.network.refresh()
        elif handler := self.handlers.get(number):
            self._context.run(handler)
            self.signalled.set()
        else:
            self._end(128 + number)

    def default_action(self, number: int) -> None:
        """It has sent itself a signal that it has no handler for."""
        raise ProcessExit(128 + number)

    def _ended(self, main: asyncio.Task[int]) -> None:
        if not self.is_running:
            return
        if main.cancelled():
            self._end(KILLED)
        elif (error := main.exception()) is None:
            self._end(main.result())
        elif isinstance(error, ProcessExit):
            self._end(error.code)
        else:
            self.write_log("".join(traceback.format_exception(error)))
            self._end(1)

    def _end(self, code: int) -> None:
        self.exit_code = code
        self.network.drop(self)
        for task in list(self.tasks):
            task.cancel()
        self._on_exit(code)


def track(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """A task factory: every task is known to the process that it belongs to."""
    task: asyncio.Task[Any] = OrderedTask(coroutine, loop=loop, **options)
    context = options.get("context")
    process = CURRENT.get() if context is None else context.get(CURRENT)
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(lambda done: process.tasks.pop(done, None), context=contextvars.Context())
        if not process.is_running:
            task.cancel()
    return task


class OrderedTask(asyncio.Task[Any]):
    """Sets of tasks, which asyncio and anyio walk to cancel them, are in the order of making, not of addresses."""

    _count = 0

    @classmethod
    def begin_again(cls) -> None:
        """Count from 1: the same in every simulation."""
        cls._count = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        OrderedTask._count += 1
        self._number = OrderedTask._count
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other
