"""The three clients behind one call, so that one test can hold them to the same behaviour."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, is_dataclass
from typing import Any, Protocol

import msgspec

from tests.clients.node import Node

KEY = "sk-of-the-tests-0123456789abcdefghij"
QUICK: dict[str, Any] = {"base_seconds": 0.01, "cap_seconds": 0.02, "total_seconds": 20.0}
"""Retries that a test has time for."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a client said. `result`: its fields by the names that Python has; for a stream, its events.

    `error`: the fields of what was raised, with its class as `name`.
    """

    result: Any = None
    error: dict[str, Any] | None = None


class Speaker(Protocol):
    """A client."""

    async def say(
        self, url: str, method: str, *arguments: Any, retry: dict[str, Any] | None = None, **options: Any
    ) -> Told:
        """Call a method by its Python name, with its Python options."""


class BlockingSpeaker:
    """`headgate_client.Client`, in a thread."""

    async def say(
        self, url: str, method: str, *arguments: Any, retry: dict[str, Any] | None = None, **options: Any
    ) -> Told:
        from headgate_client import Client, RetryPolicy

        client = Client(url, KEY, retry=RetryPolicy(**{**QUICK, **(retry or {})}))

        def call() -> Any:
            answer = getattr(client, method)(*arguments, **options)
            return list(answer) if isinstance(answer, Iterator) else answer

        return await _told(asyncio.to_thread(call))


class AsyncioSpeaker:
    """`headgate_client.AsyncClient`, in the loop of the test."""

    async def say(
        self, url: str, method: str, *arguments: Any, retry: dict[str, Any] | None = None, **options: Any
    ) -> Told:
        from headgate_client import AsyncClient, RetryPolicy

        client = AsyncClient(url, KEY, retry=RetryPolicy(**{**QUICK, **(retry or {})}))

        async def call() -> Any:
            answer = getattr(client, method)(*arguments, **options)
            return [event async for event in answer] if isinstance(answer, AsyncIterator) else await answer

        return await _told(call())


class NodeSpeaker:
    """`headgate-client`, in Node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def say(
        self, url: str, method: str, *arguments: Any, retry: dict[str, Any] | None = None, **options: Any
    ) -> Told:
        asked = {
            "client": {"base_url": url, "api_key": KEY, "retry": {**QUICK, **(retry or {})}},
            "method": method,
            "arguments": arguments,
            "options": options,
        }
        return msgspec.convert(await self._node.ask(asked), Told)


async def _told(call: Any) -> Told:
    from headgate_client import HeadgateError

    try:
        return Told(result=_plain(await call))
    except HeadgateError as error:
        names = ("status", "code", "detail", "errors", "request_id", "run_id", "retry_after")
        fields = {name: getattr(error, name) for name in names}
        return Told(error={"name": type(error).__name__, **fields, "errors": list(error.errors)})


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    fields = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return msgspec.to_builtins(fields)
