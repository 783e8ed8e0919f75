"""An event loop whose time is made up: it stands still while anything is ready and then jumps to the next timer.

Whatever runs here belongs to a process (or to none: the network, the outside). A process that is frozen or dead runs no
step any more, at whichever await it was; a frozen one goes on from there when it is thawed.
"""

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import time_machine

EPOCH = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
"""When every seed begins."""

_MAX_STEPS = 3_000_000
"""No seed takes so many: one that does is going round in circles."""

_STEP_SECONDS = 1e-6
"""So long takes whatever is done at one moment: who looks at the clock in a circle sees it move."""

T = TypeVar("T")


class Stalled(Exception):
    """Nothing is ready and nothing will ever be: everybody waits for somebody."""


class Process:
    """One process of the system: its tasks share its fate."""

    def __init__(self, loop: "VirtualLoop", name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.on_death: list[Callable[[], None]] = []
        self._loop = loop
        self._held: list[asyncio.Handle] = []
        self._context = copy_context()
        self._context.run(_PROCESS.set, self)

    @property
    def runs(self) -> bool:
        """Whether it takes steps now."""
        return self.alive and not self.frozen

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of this process."""
        return self._loop.create_task(work, context=self._context)

    def call_at(self, when: float, call: Callable[..., Any], *args: Any) -> None:
        """Have a step of this process done at a time, as the network does when it brings something."""
        self._loop.call_at(when, call, *args, context=self._context)

    def die(self) -> None:
        """Take no step any more: what it was doing is left as it is."""
        if self.alive:
            self.alive = False
            for call in self.on_death:
                call()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: what came meanwhile is waiting."""
        self.frozen = False
        held, self._held = self._held, []
        self._loop.extend_ready(held)

    def hold(self, handle: asyncio.Handle) -> None:
        """Keep a step until the process is thawed, or its remains are cleared away."""
        self._held.append(handle)

    def bury(self) -> None:
        """Let a dead process run again, to be cancelled: nothing it does has any effect by now."""
        self.alive = True
        self.thaw()


_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class _Numbered(asyncio.Task[Any]):
    """A task that sets order by its number and not by its address, so that a seed replays."""

    _numbers = itertools.count()

    def __init__(self, *args: Any, **more: Any) -> None:
        self._number = next(_Numbered._numbers)
        super().__init__(*args, **more)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """Time in seconds since `EPOCH`; `datetime.now` and `time.time` follow it."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, clock: time_machine.Traveller) -> None:
        super().__init__()
        self._clock = clock
        self._now = 0.0
        self._shown_ns = 0
        self._steps = 0
        self.defects: list[str] = []
        """What asyncio would have logged: exceptions that nobody asked for."""
        self.set_task_factory(lambda loop, coro, context=None: _Numbered(coro, loop=loop, context=context))
        self.set_exception_handler(self._on_defect)
        _Numbered._numbers = itertools.count()

    def time(self) -> float:
        return self._now

    def now(self) -> datetime:
        """The made-up date."""
        return EPOCH + timedelta(seconds=self._now)

    def extend_ready(self, handles: list[asyncio.Handle]) -> None:
        """Have steps done that were held back, in their order."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        """What asyncio's does, without a selector, and asking each step's process."""
        ready = self._ready
        if not ready:
            self._jump()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(_PROCESS)
            if process is not None and not process.runs:
                process.hold(handle)
                continue
            handle._run()
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise Stalled("it never comes to rest")

    def _jump(self) -> None:
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not timers:
            raise Stalled("nothing is left to happen")
        self._now = max(timers[0]._when, self._now + _STEP_SECONDS)
        now_ns = round(self._now * 1e9)
        self._clock.shift((now_ns - self._shown_ns) / 1e9)
        self._shown_ns = now_ns
        while timers and timers[0]._when <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            self._ready.append(timer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are thrown away when their time comes."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There is no selector."""

    def _write_to_self(self) -> None:
        """There is no selector to wake."""

    def _on_defect(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        task = context.get("task") or context.get("future")
        whose = getattr(task.get_coro(), "__qualname__", "") if isinstance(task, asyncio.Task) else type(task).__name__
        self.defects.append(f"{context['message']}: {type(error).__name__}: {error} ({whose})")


class Labour:
    """What `time.monotonic` shows to those who watch how long they have worked: now and then a piece takes long.

    time-machine leaves that clock to the machine, and a seed whose story hung on it would not replay.
    """

    _LONG_SHARE = 0.05
    _LONG_SECONDS = 0.05

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self._loop = loop
        self._chance = chance
        self._worked = 0.0

    def now(self) -> float:
        if self._chance.random() < self._LONG_SHARE:
            self._worked += self._LONG_SECONDS
        return self._loop.time() + self._worked
