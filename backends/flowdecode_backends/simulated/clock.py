"""Virtual time: an event loop that jumps to its next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import math
import random
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

__all__ = ["DeadlockError", "SimulatedLoop", "simulate"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREAD_PATIENCE = 10.0
_TASKS_SHOWN = 5


def simulate(coroutine: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine in virtual time, which starts at 0, and return its result.

    Waiting costs no real time, and a program has the same times in every run. The event loop is the
    simulation's own, and `random` begins from one seed. Raises DeadlockError where nothing is left
    that could ever happen.
    """
    chance = random.getstate()
    try:
        _refuse_in_loop()
        random.seed(0)
        with asyncio.Runner(debug=debug, loop_factory=SimulatedLoop) as runner:
            return runner.run(coroutine)
    finally:
        random.setstate(chance)
        coroutine.close()


def _refuse_in_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("Expected no running event loop, got one: simulate() runs a loop of its own.")


class DeadlockError(RuntimeError):
    """Every task waits, and there is no timer, file descriptor or thread that could wake one."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` starts at 0 and jumps from timer to timer.

    File descriptors and threads work, but time does not wait for them while a timer is set. It does
    for `run_in_executor`.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._jobs = 0
        self._threads = threading.active_count()
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if math.isinf(when):  # never, so it must not count as something that will happen
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._end_job)
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        self._jobs += 1  # the timeout is meant in real time
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._jobs -= 1

    def _end_job(self, _: asyncio.Future[Any]) -> None:
        self._jobs -= 1

    def pass_time(self, seconds: float | None) -> None:
        """Jump to the next timer. Raises DeadlockError where there is none."""
        if seconds is None:
            raise DeadlockError(
                f"Expected something to wait for at {self._now:g} s of virtual time, got no timer, no file "
                f"and no thread. These tasks would wait for ever: {self._tasks()}."
            )
        self._now += seconds
        # Rounding may put us one unit before the timer; asyncio runs timers up to this much early.
        self._clock_resolution = 2 * math.ulp(self._now)

    def real_wait(self, timeout: float | None, *, files: bool) -> float | None:
        """Real seconds to wait for files and threads before time may pass; None: as long as it takes."""
        if self._jobs or (timeout is None and files):
            return None
        if timeout is None and threading.active_count() > self._threads:
            return _THREAD_PATIENCE
        return 0

    def _tasks(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        shown = [
            f"{task.get_name()} ({frame.f_code.co_filename}:{frame.f_lineno})"
            for task in tasks[:_TASKS_SHOWN]
            for frame in task.get_stack(limit=1)
        ]
        return ", ".join(shown) + (", ..." if len(tasks) > _TASKS_SHOWN else "")


class _JumpingSelector(selectors.DefaultSelector):
    """Looks at the file descriptors, and lets virtual time pass where a real loop would wait."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        files = len(self.get_map()) > 1  # one is the loop's own: threads write to it to end a wait
        if timeout is not None and timeout <= 0:
            return super().select(0) if files else []
        events = super().select(self._loop.real_wait(timeout, files=files))
        if not events:
            self._loop.pass_time(timeout)
        return events
