"""The callers: what they ask of which gateway, how they try again, and what they were told."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, TypeVar, cast

import msgspec
from multidict import CIMultiDict

from libs.edge.problems import Problem
from libs.edge.routes import Call, Reply
from libs.edge.run_events import RUN_HEADER
from libs.events.auth_calls import Principal
from libs.events.broker import Unavailable
from libs.events.follow import UnknownRun, follow
from libs.events.managed import Limits, Mode
from libs.events.run_events import Served
from libs.events.subjects import RunKey
from services.gateway.api.batches import BatchBody, create_batch
from services.gateway.api.runs import RunBody, cancel_run, get_run, start_run
from services.gateway.state import Gateway
from tests.simulation.loop import VirtualLoop
from tests.simulation.services import Service

_PATIENCE_SECONDS = 45.0
_TRIES = 40

T = TypeVar("T")


class _Request(dict[Any, Any]):
    """What handlers look at of a request: its head, and what was put into it on the way."""

    def __init__(self, headers: "CIMultiDict[str]", path: dict[str, str]) -> None:
        super().__init__()
        self.headers = headers
        self.match_info = path
        self.remote = "192.0.2.1"
        self.query: dict[str, str] = {}


class Broke(Exception):
    """The connection to a gateway broke, or there was none: what became of the call is not known."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that says a run exists."""

    run: RunKey
    key: str | None
    status: int
    body: Any


class Watched(msgspec.Struct, kw_only=True):
    """What a follower saw of a run, over however many connections."""

    run: RunKey
    after: int
    events: list[Served] = []
    complete: bool = False
    connection: int = 0
    """Which one is open: what comes over an earlier one goes nowhere."""


class Book:
    """Everything callers were told, to be held against the log."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.batches: list[tuple[str, list[str]]] = []
        self.cancelled: dict[str, float] = {}
        self.watched: list[Watched] = []
        self.faults: list[str] = []
        """What no caller should be told."""


class _Request(dict[str, Any]):
    """As much of a request as handlers look at."""

    remote = "192.0.2.1"

    def __init__(self, headers: CIMultiDict[str], path: dict[str, str]) -> None:
        super().__init__()
        self.headers = headers
        self.match_info = path
        self.query: dict[str, str] = {}


class Callers:
    """Those who call. `gateways()` are those that may be called now, `principal(workspace)` whose key is used."""

    def __init__(
        self, loop: VirtualLoop, chance: random.Random, gateways: Callable[[], list[Service]], limits: dict[str, Limits]
    ) -> None:
        self.book = Book()
        self._loop = loop
        self._chance = chance
        self._gateways = gateways
        self._limits = limits
        self._requests = 0

    async def ask(self, workspace: str, flow: str, n: int, mode: Mode, key: str | None, session: str | None) -> None:
        """Start a run, trying again while that is safe, and then do with it what callers do."""
        body = RunBody(input={"n": n}, mode=mode, session_id=session)
        for _ in range(_TRIES):
            try:
                reply = await self._call(workspace, start_run, {"deployment_id": flow}, body, key)
            except Problem as problem:
                if problem.code == "idempotency_conflict":
                    return
                if problem.status == 429:
                    await asyncio.sleep(self._chance.uniform(0.5, 3.0))
                    continue
                if problem.code != "unavailable":
                    self.book.faults.append(f"a good call was answered {problem.code}: {problem.detail}")
                    return
            except Broke:
                pass
            else:
                run = RunKey(workspace, reply.headers[RUN_HEADER])
                told = Told(run=run, key=key, status=reply.status, body=reply.body)
                self.book.told.append(told)
                await self._afterwards(told)
                return
            if key is None:
                return
            await asyncio.sleep(self._chance.uniform(0.2, 2.0))

    async def ask_batch(self, workspace: str, flow: str, count: int, key: str) -> None:
        """Start many runs at once."""
        body = BatchBody(inputs=[{"n": number} for number in range(count)])
        for _ in range(_TRIES):
            try:
                reply = await self._call(workspace, create_batch, {"deployment_id": flow}, body, key)
            except (Problem, Broke) as error:
                if isinstance(error, Problem) and error.code not in ("unavailable", "quota_exceeded"):
                    self.book.faults.append(f"a good batch was answered {error.code}: {error.detail}")
                    return
                await asyncio.sleep(self._chance.uniform(0.2, 2.0))
                continue
            self.book.batches.append((workspace, [run.id for run in reply.body.runs]))
            return

    async def rename(self, workspace: str, deployment_id: str, name: str, seconds: float) -> None:
        """Change something that every gateway keeps in mind."""
        await asyncio.sleep(seconds)

        async def change(gateway: Gateway) -> None:
            deployment = gateway.directory.deployment(workspace, deployment_id)
            if deployment is None:
                self.book.faults.append(f"a gateway does not know {deployment_id}")
            else:
                await gateway.directory.change(
                    "deployment.updated", deployment, "key_1", "192.0.2.1", lambda _: {"name": name}
                )

        with suppress(Broke, Unavailable):
            await self._through(change)

    async def _afterwards(self, told: Told) -> None:
        wish = self._chance.random()
        async with asyncio.TaskGroup() as group:
            if wish < 0.5:
                group.create_task(self.watch(told.run))
            if wish > 0.4 and told.status == 202:
                group.create_task(self._find(told.run))
            if self._chance.random() < 0.2 and told.status == 202:
                await asyncio.sleep(self._chance.expovariate(0.5))
                await self._cancel(told.run)

    async def _find(self, run: RunKey) -> None:
        """A run is found at once after its acceptance, at any gateway."""
        try:
            await self._call(run.workspace, get_run, {"run_id": run.run_id}, None, None)
        except Broke:
            return
        except Problem as problem:
            if problem.code != "unavailable":
                self.book.faults.append(f"a run that was accepted was answered {problem.code}")

    async def _cancel(self, run: RunKey) -> None:
        for _ in range(_TRIES):
            try:
                await self._call(run.workspace, cancel_run, {"run_id": run.run_id}, None, None)
            except Broke:
                await asyncio.sleep(1.0)
                continue
            except Problem as problem:
                if problem.code == "unavailable":
                    await asyncio.sleep(1.0)
                    continue
                if problem.code != "conflict":
                    self.book.faults.append(f"a cancel was answered {problem.code}")
                return
            self.book.cancelled[run.run_id] = self._loop.time()
            return

    async def watch(self, run: RunKey) -> None:
        """Follow a run from somewhere to its end, over as many connections as it takes."""
        watched = Watched(run=run, after=self._chance.choice([0, 0, 0, 2]))
        self.book.watched.append(watched)
        while not watched.complete:
            watched.connection += 1
            try:
                await self._through(partial(_follow, watched, watched.connection))
            except Broke:
                await asyncio.sleep(self._chance.uniform(0.1, 1.0))
            except UnknownRun:
                self.book.faults.append("a run that was accepted could not be followed: it was unknown")
                return
            except Unavailable:
                await asyncio.sleep(self._chance.uniform(0.5, 2.0))

    async def _call(
        self,
        workspace: str,
        handler: Callable[[Call[Any]], Awaitable[Any]],
        path: dict[str, str],
        body: Any,
        key: str | None,
    ) -> Reply:
        """One request, answered as HTTP would; Problem, Broke."""
        self._requests += 1
        headers = CIMultiDict({"Idempotency-Key": key} if key else {})
        request = _Request(headers, path)
        caller = Principal(
            key_id="key_1", workspace=workspace, permissions=("admin",), plan="pro", limits=self._limits[workspace]
        )
        request_id = f"req_{self._requests}"

        async def handle(gateway: Gateway) -> Reply:
            call = Call[Any](app=gateway, request=cast(Any, request), caller=caller, request_id=request_id, body=body)
            return cast(Reply, await handler(call))

        try:
            return await self._through(handle)
        except Unavailable:
            raise Problem("unavailable", "") from None

    async def _through(self, work: Callable[[Gateway], Awaitable[T]]) -> T:
        """Have a gateway do something. Broke when it dies, does not exist, or keeps silent for too long."""
        service = self._chance.choice(self._gateways())
        if service.gateway is None or not service.process.alive:
            raise Broke
        answer: asyncio.Future[T] = self._loop.create_future()

        async def serve(gateway: Gateway) -> None:
            try:
                result = await work(gateway)
            except (Problem, Unavailable, UnknownRun) as error:
                _settle(answer, error)
            except Exception as error:  # noqa: BLE001  # a 500, which is never right
                self.book.faults.append(f"a gateway raised {type(error).__name__}: {error}")
                _settle(answer, Broke())
            else:
                if not answer.done():
                    answer.set_result(result)

        def died() -> None:
            _settle(answer, Broke())

        service.process.on_death.append(died)
        serving = service.process.start(serve(service.gateway))
        try:
            async with asyncio.timeout(self._chance.choice([_PATIENCE_SECONDS, _PATIENCE_SECONDS, 2.0])):
                return await answer
        except TimeoutError:
            # Callers that hang up: half of the servers notice.
            if self._chance.random() < 0.5:
                serving.cancel()
            raise Broke from None
        finally:
            service.process.on_death.remove(died)


async def _follow(watched: Watched, connection: int, gateway: Gateway) -> None:
    after = watched.events[-1].seq if watched.events else watched.after
    async with aclosing(follow(gateway.log, watched.run, after)) as events:
        async for event in events:
            if watched.connection != connection:
                return
            watched.events.append(event)
    watched.complete = watched.complete or watched.connection == connection


def _settle(answer: "asyncio.Future[Any]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
