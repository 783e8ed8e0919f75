"""A model server that speaks the OpenAI chat-completions protocol over a real socket, as slowly as it is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.e2e.target import serving


class Model:
    """What it says, and what it was asked. `held`: it stops before the last word until `released` is set."""

    def __init__(self, words: Sequence[str], reasoning: Sequence[str], pause_seconds: float) -> None:
        self.words = list(words)
        self.reasoning = list(reasoning)
        self.pause_seconds = pause_seconds
        self.released = asyncio.Event()
        self.released.set()
        self.asked: list[dict[str, Any]] = []
        self.authorizations: list[str] = []

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """One streamed completion."""
        asked = json.loads(await request.read())
        self.asked.append(asked)
        self.authorizations.append(request.headers.get("Authorization", ""))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        deltas = [{"reasoning_content": text} for text in self.reasoning] + [{"content": text} for text in self.words]
        for place, delta in enumerate(deltas, 1):
            if place == len(deltas):
                await self.released.wait()
            await self._send(response, asked["model"], [{"index": 0, "delta": delta, "finish_reason": None}])
            await asyncio.sleep(self.pause_seconds)
        await self._send(response, asked["model"], [{"index": 0, "delta": {}, "finish_reason": "stop"}])
        used = {"prompt_tokens": 1000, "completion_tokens": len(self.words), "total_tokens": 1000 + len(self.words)}
        await self._send(response, asked["model"], [], usage=used)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, model: str, choices: list[Any], **more: Any) -> None:
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": model, "choices": choices, **more}
        await response.write(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n")


@asynccontextmanager
async def model(
    port: int, words: Sequence[str], *, reasoning: Sequence[str] = (), pause_seconds: float = 0.0
) -> AsyncIterator[Model]:
    """A model server on a port of loopback."""
    found = Model(words, reasoning, pause_seconds)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", found.complete)
    async with serving(app, port):
        yield found
