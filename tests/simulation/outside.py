"""The world outside: servers and models that flows call, which are slow, fail, and remember who asked for what."""

import asyncio
import random
from typing import Any

import msgspec

from libs.egress import Policy, Request
from libs.egress.messages import Answer
from libs.flows.effects import ModelAnswer, ModelCall
from libs.runtime.failures import Retryable, Terminal
from services.executor.models import OnDelta
from tests.simulation.loop import Process, VirtualLoop


class Visit(msgspec.Struct, frozen=True):
    """Somebody called: with which key, from which process, when."""

    key: str
    process: str
    at: float


class Outside:
    """Everything that is not ours. `calm` ends what is slow or fails."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self.visits: list[Visit] = []
        self.calm = False
        self._loop = loop
        self._chance = chance

    async def answer(self, process: Process, key: str, *, fails: bool) -> None:
        """What one call comes to: an answer after a while, or a failure."""
        self.visits.append(Visit(key, process.name, self._loop.time()))
        fate = 1.0 if self.calm else self._chance.random()
        if fate < 0.05:
            await asyncio.sleep(self._chance.uniform(8.0, 14.0))  # longer than a lease
        else:
            await asyncio.sleep(self._chance.expovariate(5.0))
        if fails or fate < 0.15:
            raise Retryable("node_failed", "the other side is not well")
        if fate < 0.18:
            raise Terminal("node_failed", "the other side refuses")

    def pause(self) -> float:
        """Between two words of a model."""
        return self._chance.uniform(0.0, 0.3)


class Door:
    """A process's way out: stands for `libs.egress.Egress`."""

    policy = Policy.parse("")

    def __init__(self, outside: Outside, process: Process) -> None:
        self._outside = outside
        self._process = process

    async def fetch(self, request: Request) -> Answer:
        key = request.headers["Idempotency-Key"]
        await self._outside.answer(self._process, key, fails="broken" in request.url)
        body = msgspec.json.encode({"heard": key})
        return Answer(status=200, headers={"content-type": "application/json"}, body=body, url=request.url)


class Talker:
    """A model that speaks slowly."""

    def __init__(self, outside: Outside, process: Process) -> None:
        self._outside = outside
        self._process = process

    async def complete(self, model: str, call: ModelCall, idempotency_key: str, on_delta: OnDelta) -> ModelAnswer:
        await self._outside.answer(self._process, idempotency_key, fails=False)
        words = ["well ", "this ", "is ", "said"]
        for word in words:
            await asyncio.sleep(self._outside.pause())
            await on_delta(word, "")
        used: dict[str, Any] = {"input_tokens": 3, "output_tokens": len(words), "cost_usd": 0.001}
        return ModelAnswer(text="".join(words), reasoning=None, model=f"talker/{model}", **used)
