"""The load: callers in a closed loop, each of whom asks, waits for the end, and asks for the next.

Of ten runs five are synchronous, one is asked for twice at the same time with one key, one is looked at until it has
ended, one followed as a stream, one cancelled when its first node is under way, and one belongs to the tenant with a
limit. Beside them a crowd asks for runs of pure nodes, several at the same moment and without a key, so that they are
stored together; whoever of it has no answer leaves it at that, and the run that there may be is found in the table.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from chaos.client import NoAnswerError, Reply
from chaos.stage import Stage, Tenant, until
from chaos.verdict import Ask
from libs.runtime.ids import new_id

_LIMITED, _CANCELLED, _TWICE, _ASYNC, _FOLLOWED = range(5)
_POLL_SECONDS = 0.25
_END_SECONDS = 120.0
_CROWD = 8
_CROWD_PAUSE_SECONDS = 0.5
_ASKED_SECONDS = 300.0
"""Between two strikes: callers wait at most so long for what they asked for before."""


class Load:
    """Runs asked for so far, and the callers. `run` lives until `enough()`."""

    def __init__(self, stage: Stage, callers: int) -> None:
        self.asks: list[Ask] = []
        self.crowd: list[Ask] = []
        self._stage = stage
        self._name = new_id("load")
        self._callers = callers

    async def run(self, enough: Callable[[], bool]) -> None:
        """Ask until `enough`, then until what was asked has been answered."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._gather(enough))
            for _ in range(self._callers):
                group.create_task(self._call(enough))

    async def asked(self, count: int) -> None:
        """Wait until so many runs were asked for."""

        async def holds() -> bool:
            return len(self.asks) >= count

        await until(holds, f"{count} runs asked for", _ASKED_SECONDS)

    async def _call(self, enough: Callable[[], bool]) -> None:
        while not enough():
            number = len(self.asks)
            key = f"{self._name}-{number}"
            limited, cancels = number % 10 == _LIMITED, number % 10 == _CANCELLED
            ask = Ask(number=number, key=key, limited=limited, cancels=cancels)
            self.asks.append(ask)
            await self._ask(ask)

    async def _gather(self, enough: Callable[[], bool]) -> None:
        while not enough():
            first = len(self.crowd)
            asks = [
                Ask(number=number, key=f"{self._name}-crowd-{number}", limited=False)
                for number in range(first, first + _CROWD)
            ]
            self.crowd += asks
            await asyncio.gather(*[self._ask_together(ask, first // _CROWD) for ask in asks])
            await asyncio.sleep(_CROWD_PAUSE_SECONDS)

    async def _ask_together(self, ask: Ask, gateway: int) -> None:
        crowd = self._stage.crowd
        ask.asked_at = time.time()
        body = {"input": {"text": ask.key}, "mode": "async" if ask.number % 4 == 0 else "sync"}
        reply = await crowd.client.ask_once("POST", crowd.path, body, gateway=gateway)
        if reply is None:
            return
        ask.run_ids.add(reply.body["id"])
        try:
            reply = await _ended(crowd, reply, gateway) if reply.status == 202 else reply
        except NoAnswerError as error:
            ask.unanswered = str(error)
            return
        ask.answered_at = time.time()
        if reply.body.get("output") != ask.expected:
            ask.misled = f"answered {reply.body.get('status')} with {reply.body.get('output')!r}"

    async def _ask(self, ask: Ask) -> None:
        kind = ask.number % 10
        tenant = self._stage.limited if ask.limited else self._stage.free
        ask.asked_at = time.time()
        try:
            if kind == _TWICE:
                await asyncio.gather(*[self._start(tenant, ask, "sync", gateway) for gateway in (0, 1)])
            elif kind in (_ASYNC, _CANCELLED, _FOLLOWED):
                await self._start(tenant, ask, "async", ask.number)
            else:
                await self._start(tenant, ask, "sync", ask.number)
            if kind == _CANCELLED:
                await self._cancel(tenant, ask)
            if kind == _FOLLOWED:
                await self._follow(tenant, ask)
        except NoAnswerError as error:
            ask.unanswered = str(error)

    async def _start(self, tenant: Tenant, ask: Ask, mode: str, gateway: int) -> None:
        body = {"input": {"text": ask.key}, "mode": mode}
        reply = await tenant.client.call("POST", tenant.path, body, gateway=gateway, key=ask.key)
        ask.run_ids.add(reply.body["id"])
        looks = ask.number % 10 not in (_CANCELLED, _FOLLOWED)
        if reply.status == 202 and looks:
            reply = await _ended(tenant, reply, gateway)
        ask.answered_at = max(ask.answered_at or 0.0, time.time())
        if looks and reply.body.get("output") != ask.expected:
            ask.misled = f"answered {reply.body.get('status')} with {reply.body.get('output')!r}"

    async def _follow(self, tenant: Tenant, ask: Ask) -> None:
        (run_id,) = ask.run_ids
        ask.seen = await self._stage.follow(tenant.client, run_id, ask.number)

    async def _cancel(self, tenant: Tenant, ask: Ask) -> None:
        (run_id,) = ask.run_ids

        async def begun() -> bool:
            return f"{run_id}:a" in self._stage.recorder.calls

        try:
            await until(begun, "begun", _END_SECONDS)
        except TimeoutError as error:
            raise NoAnswerError(str(error)) from None
        reply = await tenant.client.call("POST", f"/v1/runs/{run_id}/cancel", gateway=ask.number, fine={409})
        ask.cancelled = reply.status == 202


async def _ended(tenant: Tenant, reply: Reply, gateway: int) -> Reply:
    """Look at a run until it has ended: what a receipt names is found at once."""
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        found = await tenant.client.call("GET", f"/v1/runs/{reply.body['id']}", gateway=gateway)
        if found.body["finished_at"] is not None:
            return found
        await asyncio.sleep(_POLL_SECONDS)
        gateway += 1
    raise NoAnswerError(f"{reply.body['id']} has not ended within {_END_SECONDS:g} s")


async def histories(stage: Stage, asks: list[Ask], at_once: int = 16) -> dict[str, list[dict[str, Any]]]:
    """The events of every run, each read from the gateway whose turn it is; none of a run that is unknown."""
    found: dict[str, list[dict[str, Any]]] = {}
    wanted = [(ask, run_id) for ask in asks for run_id in sorted(ask.run_ids)]
    queue = iter(enumerate(wanted))

    async def read() -> None:
        for number, (ask, run_id) in queue:
            client = (stage.limited if ask.limited else stage.free).client
            reply = await client.call("GET", f"/v1/runs/{run_id}/events", gateway=number, fine={404})
            found[run_id] = [] if reply.status == 404 else reply.body["data"]

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(read())
    return found
