"""Tends the processes of a stack: starts those that ended, keeps `processes.json` true, stops them in order."""

import asyncio
import signal
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from cli.up.child import Child
from cli.up.installation import write_private

SERVERS = ("nats", "postgres")

_STOP_STAGES = (("gateway", 0.0), ("executor", 4.0), ("notifier", 7.0), ("auth", 8.0))
"""Which service is told to stop when, at the latest, in seconds from the beginning; earlier as soon as those
before it are gone. Gateways first: the runs that their callers wait for need all the others.
"""

_SERVICES_GONE_AT_SECONDS = 12.0
_SERVERS_GONE_AT_SECONDS = 17.0
_ALL_GONE_AT_SECONDS = 19.0
_HURRY_SECONDS = 1.0
_ECHO_SECONDS = 0.5


class Supervisor:
    """Holds the children of one `headgate up`; `tell` is called with a line whenever something happens to
    one.
    """

    def __init__(self, children: Sequence[Child], *, register: Path, tell: Callable[[str], None]) -> None:
        self._children = children
        self._register = register
        self._tell = tell
        self._woken = asyncio.Event()
        self._stopping_since: float | None = None
        self._hurried_at: float | None = None

    def start(self) -> None:
        """Start all of them, in the order given. What a launch raises is raised on; call `stop` all the same."""
        try:
            for child in self._children:
                child.start(time.monotonic())
        finally:
            self._write_register()

    def wake(self) -> None:
        """A child ended (SIGCHLD): look."""
        self._woken.set()

    def hurry(self) -> None:
        """Do not wait politely for those that are stopping; too soon after `stop` it is not meant so.

        `make` passes SIGTERM on, so that a signal to the whole process group arrives here twice.
        """
        now = time.monotonic()
        if self._stopping_since is not None and now - self._stopping_since > _ECHO_SECONDS:
            self._hurried_at = now
            self.wake()

    async def tend(self) -> None:
        """Start again whoever ends, until cancelled."""
        while True:
            now = time.monotonic()
            ended = [(child, code) for child in self._children if (code := child.reap(now)) is not None]
            due = [child for child in self._children if child.is_due(now)]
            for child, code in ended:
                self._mourn(child, code)
            for child in due:
                self._revive(child, now)
            if ended or due:
                self._write_register()
            waiting = [child.due_at for child in self._children if child.due_at is not None]
            await self._wait(min(waiting) - time.monotonic() if waiting else None)

    async def stop(self) -> None:
        """End every child within twenty seconds: services in their order, then the servers that they all
        need.
        """
        began = self._stopping_since = time.monotonic()
        told: list[str] = []
        for service, latest in _STOP_STAGES:
            await self._gone(told, began + latest)
            self._send([service])
            told.append(service)
        await self._gone(told, began + _SERVICES_GONE_AT_SECONDS)
        self._send(told, signal.SIGKILL)
        self._send(SERVERS)
        await self._gone([*told, *SERVERS], began + _SERVERS_GONE_AT_SECONDS, hurry=2 * _HURRY_SECONDS)
        self._send(SERVERS, signal.SIGKILL)
        await self._gone([*told, *SERVERS], began + _ALL_GONE_AT_SECONDS, hurry=4 * _HURRY_SECONDS)
        self._write_register()

    def _mourn(self, child: Child, code: int) -> None:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._tell(f"{child.name} ended ({how}); it starts again in {child.delay_seconds:g} s")

    def _revive(self, child: Child, now: float) -> None:
        if reason := child.start_again(now):
            self._tell(f"{child.name} does not start: {reason}; once more in {child.delay_seconds:g} s")

    def _send(self, services: Collection[str], number: signal.Signals | None = None) -> None:
        """Send a signal, or to each its own for stopping, to those of the services that still run."""
        for child in self._children:
            if child.service in services:
                child.send(number or child.stop_signal)

    async def _gone(self, services: Collection[str], deadline: float, *, hurry: float = _HURRY_SECONDS) -> None:
        """Return when none of the services runs, or at the deadline: `hurry` seconds after a call to `hurry`."""
        while True:
            ended = [child for child in self._children if child.reap(time.monotonic()) is not None]
            if ended:
                self._write_register()
            limit = deadline if self._hurried_at is None else min(deadline, self._hurried_at + hurry)
            alive = any(child.running for child in self._children if child.service in services)
            if not alive or time.monotonic() >= limit:
                return
            await self._wait(limit - time.monotonic())

    async def _wait(self, seconds: float | None) -> None:
        """Until a child ends, or the time is over."""
        try:
            async with asyncio.timeout(None if seconds is None else max(0.0, seconds)):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    def _write_register(self) -> None:
        running = [line for child in self._children if (line := child.running)]
        try:
            write_private(self._register, msgspec.json.encode(running).decode() + "\n")
        except OSError as error:  # a full disk must not take down what runs
            self._tell(f"{self._register} could not be written: {error.strerror}")
