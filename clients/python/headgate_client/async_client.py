"""The client for asyncio: the same calls as `Client`, with the same words. It holds no connection; never close it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from headgate_client import calls
from headgate_client.address import read_address
from headgate_client.asyncio_wire import AsyncioWire
from headgate_client.caller import Caller, read_key
from headgate_client.calls import Asked, Tweaks
from headgate_client.effects import Steps, T
from headgate_client.event_stream import EventStream
from headgate_client.results import Batch, Event, FlowResult, Run
from headgate_client.retries import RetryPolicy


class AsyncClient:
    """A Headgate server and a key for it; arguments, results and errors are those of `Client`.

    Cancelling a call drops its connection and stops nothing of the run. A stream that is left early is best closed
    by `contextlib.aclosing`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout: float = 60.0,
        retry: RetryPolicy | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        address = read_address(base_url)
        self._tls = (ssl_context or ssl.create_default_context()) if address.tls else None
        self._caller = Caller(address, read_key(api_key), timeout, retry or RetryPolicy())

    async def run(
        self,
        deployment: str,
        input: Mapping[str, Any] | None = None,
        *,
        session_id: str | None = None,
        tweaks: Tweaks | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> Run:
        """As `Client.run`."""
        asked = Asked(deployment, input, session_id, tweaks, metadata, idempotency_key or calls.new_key())
        return await self._perform(calls.checked(calls.run(self._caller, asked, timeout), check))

    async def submit(
        self,
        deployment: str,
        input: Mapping[str, Any] | None = None,
        *,
        session_id: str | None = None,
        tweaks: Tweaks | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """As `Client.submit`."""
        asked = Asked(deployment, input, session_id, tweaks, metadata, idempotency_key or calls.new_key())
        return await self._perform(calls.submit(self._caller, asked))

    def stream(
        self,
        deployment: str,
        input: Mapping[str, Any] | None = None,
        *,
        session_id: str | None = None,
        tweaks: Tweaks | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncIterator[Event]:
        """As `Client.stream`: `async for event in client.stream(…)`."""
        asked = Asked(deployment, input, session_id, tweaks, metadata, idempotency_key or calls.new_key())
        return self._iterate(calls.stream(self._caller, asked))

    def events(self, run_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """As `Client.events`."""
        return self._iterate(calls.events(self._caller, run_id, after))

    async def get_run(self, run_id: str) -> Run:
        """As `Client.get_run`."""
        return await self._perform(calls.get_run(self._caller, run_id))

    async def wait(self, run_id: str, timeout: float | None = None, *, check: bool = False) -> Run:
        """As `Client.wait`."""
        return await self._perform(calls.checked(calls.wait(self._caller, run_id, timeout), check))

    async def cancel(self, run_id: str) -> Run:
        """As `Client.cancel`."""
        return await self._perform(calls.cancel(self._caller, run_id))

    async def batch(
        self, deployment: str, inputs: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Batch:
        """As `Client.batch`."""
        key = idempotency_key or calls.new_key()
        return await self._perform(calls.batch(self._caller, deployment, inputs, key))

    async def get_batch(self, batch_id: str) -> Batch:
        """As `Client.get_batch`."""
        return await self._perform(calls.get_batch(self._caller, batch_id))

    async def wait_batch(self, batch_id: str, timeout: float | None = None) -> Batch:
        """As `Client.wait_batch`."""
        return await self._perform(calls.wait_batch(self._caller, batch_id, timeout))

    async def run_flow(
        self, flow_id: str, input_value: str, tweaks: Tweaks | None = None, session_id: str | None = None
    ) -> FlowResult:
        """As `Client.run_flow`."""
        return await self._perform(calls.run_flow(self._caller, flow_id, input_value, tweaks, session_id))

    async def _perform(self, steps: Steps[T]) -> T:
        with closing(AsyncioWire(self._tls)) as wire:
            return await wire.perform(steps)

    async def _iterate(self, events: EventStream) -> AsyncIterator[Event]:
        with closing(AsyncioWire(self._tls)) as wire:
            while (event := await wire.perform(events.next())) is not None:
                yield event
