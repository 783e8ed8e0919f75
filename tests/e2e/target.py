"""An HTTP server in the test for nodes to call: it records every request, and answers as it is told, path by path."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

_WAIT_SECONDS = 20.0


class Received(msgspec.Struct, kw_only=True):
    """One request. Times are the loop's; `cut`: its connection was closed before it was answered."""

    path: str
    method: str
    headers: dict[str, str]
    body: bytes
    began: float
    ended: float | None = None
    cut: bool = False

    @property
    def key(self) -> str:
        """Its `Idempotency-Key`."""
        return self.headers["Idempotency-Key"]

    @property
    def run_id(self) -> str:
        """The run that sent it, as its key tells."""
        return self.key.partition(":")[0]


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """One answer."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes | None = None
    after_seconds: float = 0.0


class Target:
    """Made by `target`. A path nobody prepared answers 200 with its own name as JSON."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Received] = []
        self._answers: dict[str, Iterator[Prepared]] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Condition()

    def url(self, path: str) -> str:
        """The address of a path here."""
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, path: str, answers: Sequence[Prepared]) -> None:
        """Answer the next requests for `path` so, then as usual."""
        self._answers[path] = iter(answers)

    def hold(self, path: str) -> None:
        """Leave requests for `path` without an answer until they are released."""
        self._gates[path] = asyncio.Event()

    def release(self, path: str) -> None:
        """Answer those that are held, and all that come."""
        self._gates[path].set()

    def to(self, path: str) -> list[Received]:
        """What came for a path so far, oldest first."""
        return [each for each in self.requests if each.path == path]

    def calls(self, path: str) -> Counter[str]:
        """How often each key came for a path."""
        return Counter(each.key for each in self.to(path))

    async def received(self, path: str, count: int = 1, *, runs: set[str] | None = None) -> list[Received]:
        """Wait until `count` requests came for `path`; with `runs`, count those of these runs alone."""

        def found() -> list[Received]:
            return [each for each in self.to(path) if runs is None or each.run_id in runs]

        await self._until(lambda: len(found()) >= count)
        return found()

    async def closed(self, request: Received) -> float:
        """Wait until a request is over; when that was."""
        await self._until(lambda: request.ended is not None)
        assert request.ended is not None
        return request.ended

    async def handle(self, request: web.Request) -> web.Response:
        """Record, wait at the gate, answer."""
        loop = asyncio.get_running_loop()
        received = Received(
            path=request.path,
            method=request.method,
            headers=dict(request.headers),
            body=await request.read(),
            began=loop.time(),
        )
        self.requests.append(received)
        await self._tell()
        prepared = next(self._answers.get(request.path, iter(())), Prepared())
        try:
            await asyncio.sleep(prepared.after_seconds)
            if gate := self._gates.get(request.path):
                await gate.wait()
        except asyncio.CancelledError:
            received.cut = True
            raise
        finally:
            received.ended = loop.time()
            await asyncio.shield(self._tell())
        if prepared.body is None:
            return web.json_response({"path": request.path}, status=prepared.status, headers=prepared.headers)
        return web.Response(body=prepared.body, status=prepared.status, headers=prepared.headers)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(_WAIT_SECONDS), self._changed:
            await self._changed.wait_for(holds)


@asynccontextmanager
async def target() -> AsyncIterator[Target]:
    """A target on a free port of loopback."""
    found = Target()
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", found.handle)
    async with serving(app) as port:
        found.port = port
        yield found


@asynccontextmanager
async def serving(app: web.Application, port: int = 0) -> AsyncIterator[int]:
    """The application on loopback; its handlers are cancelled when their client goes away. Answers the port."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024, reuse_address=True).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
