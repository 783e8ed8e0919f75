"""The client for blocking code. It holds no connection and no state: share it between threads, never close it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from headgate_client import calls
from headgate_client.address import read_address
from headgate_client.blocking_wire import BlockingWire
from headgate_client.caller import Caller, read_key
from headgate_client.calls import Asked, Tweaks
from headgate_client.effects import Steps, T
from headgate_client.event_stream import EventStream
from headgate_client.results import Batch, Event, FlowResult, Run
from headgate_client.retries import RetryPolicy


class Client:
    """A Headgate server and a key for it.

    `base_url` is a URL or a host (https is assumed, http for this machine). `timeout` is how many seconds the server
    may be silent during a call. A `deployment` is its id, or a flow's id or slug, which mean its production
    deployment. Calls that start runs carry an idempotency key, made for you unless you give one, so that they are
    safe to try again, as `retry` says. Every call raises HeadgateError, ConnectionFailed and WaitTimeout among them.
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

    def run(
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
        """Start a run and wait for its end, for `timeout` seconds at most (None: as long as it takes).

        A run that failed is a result too; with `check` it is raised as RunFailed.
        """
        asked = Asked(deployment, input, session_id, tweaks, metadata, idempotency_key or calls.new_key())
        return self._perform(calls.checked(calls.run(self._caller, asked, timeout), check))

    def submit(
        self,
        deployment: str,
        input: Mapping[str, Any] | None = None,
        *,
        session_id: str | None = None,
        tweaks: Tweaks | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a run and go on; `wait` for it later, from anywhere."""
        asked = Asked(deployment, input, session_id, tweaks, metadata, idempotency_key or calls.new_key())
        return self._perform(calls.submit(self._caller, asked))

    def stream(
        self,
        deployment: str,
        input: Mapping[str, Any] | None = None,
        *,
        session_id: str | None = None,
        tweaks: Tweaks | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Iterator[Event]:
        """Start a run, at the first `next`, and yield its events from first to last, each once.

        A stream that breaks is resumed where it broke. Leaving it stops nothing of the run.
        """
        asked = Asked(deployment, input, session_id, tweaks, metadata, idempotency_key or calls.new_key())
        return self._iterate(calls.stream(self._caller, asked))

    def events(self, run_id: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the events of a run there is, from number `after` + 1 to the last, as they happen."""
        return self._iterate(calls.events(self._caller, run_id, after))

    def get_run(self, run_id: str) -> Run:
        """The run as it is now."""
        return self._perform(calls.get_run(self._caller, run_id))

    def wait(self, run_id: str, timeout: float | None = None, *, check: bool = False) -> Run:
        """The run, once it has ended. WaitTimeout after `timeout` seconds; with `check`, RunFailed if it failed."""
        return self._perform(calls.checked(calls.wait(self._caller, run_id, timeout), check))

    def cancel(self, run_id: str) -> Run:
        """End the run now. A run that ended otherwise is a HeadgateError with status 409."""
        return self._perform(calls.cancel(self._caller, run_id))

    def batch(
        self, deployment: str, inputs: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Batch:
        """Start a run for each input, up to 1,000; all are accepted or none."""
        key = idempotency_key or calls.new_key()
        return self._perform(calls.batch(self._caller, deployment, inputs, key))

    def get_batch(self, batch_id: str) -> Batch:
        """The batch and its runs as they are now."""
        return self._perform(calls.get_batch(self._caller, batch_id))

    def wait_batch(self, batch_id: str, timeout: float | None = None) -> Batch:
        """The batch, once all its runs have ended. WaitTimeout after `timeout` seconds."""
        return self._perform(calls.wait_batch(self._caller, batch_id, timeout))

    def run_flow(
        self, flow_id: str, input_value: str, tweaks: Tweaks | None = None, session_id: str | None = None
    ) -> FlowResult:
        """Run a flow by Langflow's call: one text in, `.output` out. RunFailed if the run failed."""
        return self._perform(calls.run_flow(self._caller, flow_id, input_value, tweaks, session_id))

    def _perform(self, steps: Steps[T]) -> T:
        with closing(BlockingWire(self._tls)) as wire:
            return wire.perform(steps)

    def _iterate(self, events: EventStream) -> Iterator[Event]:
        with closing(BlockingWire(self._tls)) as wire:
            while (event := wire.perform(events.next())) is not None:
                yield event
