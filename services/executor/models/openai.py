"""The OpenAI chat-completions protocol, streamed or whole, as many servers besides OpenAI's speak it.

A stream is Server-Sent Events of `chat.completion.chunk` objects, `[DONE]` at the end. Text comes in `delta.content`,
reasoning in `delta.reasoning_content`, usage in the last chunk when `stream_options.include_usage` asks for it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec

from libs.egress import Egress, Request, Streamed
from libs.flows.effects import ModelAnswer, ModelCall
from libs.runtime.failures import Failure, Retryable, Terminal
from libs.runtime.providers import Endpoint
from services.executor.models.prices import cost_usd

_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_LINE_BYTES = 1024 * 1024
_TIMEOUT_SECONDS = 600.0
_IDLE_SECONDS = 120.0
_END_SECONDS = 0.1
_RETRYABLE = frozenset({408, 409, 425, 429})


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    message: _Delta = _Delta()
    finish_reason: str | None = None


class _Tokens(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Failure(msgspec.Struct, frozen=True):
    message: str = ""


class _Body(msgspec.Struct, frozen=True):
    model: str = ""
    choices: list[_Choice] = []
    usage: _Tokens | None = None
    error: _Failure | str | None = None


_decoder = msgspec.json.Decoder(_Body)


class _Sum(msgspec.Struct):
    """What has come so far."""

    text: list[str] = []
    reasoning: list[str] = []
    model: str = ""
    tokens: _Tokens = _Tokens()
    finished: bool = False


class OpenAI:
    """One endpoint of this protocol."""

    def __init__(self, egress: Egress, name: str, endpoint: Endpoint) -> None:
        self._egress = egress
        self._name = name
        self._endpoint = endpoint

    async def complete(
        self, model: str, call: ModelCall, idempotency_key: str, on_delta: Callable[[str, str], Awaitable[None]]
    ) -> ModelAnswer:
        """The answer. A refusal by the server is Terminal, or Retryable where it may answer later."""
        async with self._egress.stream(self._request(model, call, idempotency_key)) as streamed:
            if streamed.status != 200:
                raise await self._failure(streamed)
            if "text/event-stream" in streamed.headers.get("content-type", ""):
                total = await self._read_stream(streamed, on_delta)
                await _let_end(streamed)
            else:
                total = self._read_whole(await _whole(streamed))
        price = await cost_usd(self._name, model, total.tokens.prompt_tokens, total.tokens.completion_tokens)
        return ModelAnswer(
            text="".join(total.text),
            reasoning="".join(total.reasoning) or None,
            model=f"{self._name}/{total.model or model}",
            input_tokens=total.tokens.prompt_tokens,
            output_tokens=total.tokens.completion_tokens,
            cost_usd=price,
        )

    def _request(self, model: str, call: ModelCall, idempotency_key: str) -> Request:
        body: dict[str, Any] = {"model": model, "messages": call.messages}
        if call.temperature is not None:
            body["temperature"] = call.temperature
        if call.max_tokens is not None:
            body["max_tokens"] = call.max_tokens
        if call.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Idempotency-Key": idempotency_key,
        }
        if self._endpoint.api_key:
            headers["Authorization"] = f"Bearer {self._endpoint.api_key}"
        return Request(
            method="POST",
            url=self._endpoint.base_url.rstrip("/") + "/chat/completions",
            headers=headers,
            body=msgspec.json.encode(body),
            timeout_seconds=_TIMEOUT_SECONDS,
            idle_timeout_seconds=_IDLE_SECONDS,
            max_body_bytes=_MAX_ANSWER_BYTES,
            follow_redirects=False,
        )

    async def _read_stream(self, streamed: Streamed, on_delta: Callable[[str, str], Awaitable[None]]) -> _Sum:
        total = _Sum()
        async for data in _events(streamed.chunks):
            if data == b"[DONE]":
                total.finished = True
                break
            body = self._decode(data)
            total.model = body.model or total.model
            total.tokens = body.usage or total.tokens
            for choice in body.choices[:1]:
                text, reasoning = choice.delta.content or "", choice.delta.reasoning_content or ""
                total.text.append(text)
                total.reasoning.append(reasoning)
                total.finished = total.finished or choice.finish_reason is not None
                if text or reasoning:
                    await on_delta(text, reasoning)
        if not total.finished:
            raise Retryable("node_failed", f"the model provider `{self._name}` ended its answer in the middle")
        return total

    def _read_whole(self, payload: bytes) -> _Sum:
        body = self._decode(payload)
        if not body.choices:
            raise Retryable("node_failed", f"the model provider `{self._name}` answered without a choice")
        message = body.choices[0].message
        return _Sum(
            text=[message.content or ""],
            reasoning=[message.reasoning_content or ""],
            model=body.model,
            tokens=body.usage or _Tokens(),
        )

    def _decode(self, payload: bytes) -> _Body:
        try:
            body = _decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Retryable("node_failed", f"the model provider `{self._name}` answered with invalid JSON") from None
        if body.error is not None:
            said = body.error if isinstance(body.error, str) else body.error.message
            raise Retryable("node_failed", f"the model provider `{self._name}` failed: {said[:300]}")
        return body

    async def _failure(self, streamed: Streamed) -> Retryable | Terminal:
        payload = await _whole(streamed)
        try:
            error = _decoder.decode(payload).error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            error = None
        said = error if isinstance(error, str) else error.message if error else ""
        message = f"the model provider `{self._name}` answered {streamed.status}" + (f": {said[:300]}" if said else "")
        if streamed.status >= 500 or streamed.status in _RETRYABLE:
            after = streamed.headers.get("retry-after", "")
            return Retryable("node_failed", message, after=float(after) if after.isdigit() else None)
        return Terminal("node_failed", message)


async def _let_end(streamed: Streamed) -> None:
    """Wait a little for the end of a body of which all is known, so that its connection serves the next call too.

    Most servers send that end by itself, right after `[DONE]`; a connection to another continent takes 0.3 s to make.
    """
    with suppress(Failure, TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            async for _ in streamed.chunks:
                pass


async def _whole(streamed: Streamed) -> bytes:
    return b"".join([chunk async for chunk in streamed.chunks])


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each event. Providers send one `data:` line an event; lines may be cut anywhere."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
        if len(rest) > _MAX_LINE_BYTES:
            raise Terminal("node_failed", "a line of the model provider's stream is too long")
    if rest.startswith(b"data:"):
        yield rest[5:].strip()
