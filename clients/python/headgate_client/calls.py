"""Every call of the client, as steps: what is sent, and what its answer means."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate_client.address import segment
from headgate_client.caller import Caller, Request
from headgate_client.effects import Pause, Steps
from headgate_client.errors import HeadgateError, RunFailed, WaitTimeout
from headgate_client.event_stream import SILENCE_SECONDS, EventStream, events_of
from headgate_client.results import Batch, FlowResult, Run, read_batch, read_flow_result, read_run

Tweaks = Mapping[str, Mapping[str, Any]]

_SYNC_SILENCE_SECONDS = 330.0
"""A synchronous call is answered after 300 seconds at the latest, unless the operator chose otherwise."""
_FIRST_POLL_SECONDS = 0.2
_LAST_POLL_SECONDS = 5.0


def new_key() -> str:
    """An idempotency key that nobody else has."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Asked:
    """A run that is wanted. `key` is the same over all attempts, so that they start one."""

    deployment: str
    input: Mapping[str, Any] | None
    session_id: str | None
    tweaks: Tweaks | None
    metadata: Mapping[str, Any] | None
    key: str

    def request(self, mode: str, *, accept: str = "application/json", silence: float | None = None) -> Request:
        """The request that starts it in a mode."""
        given = {"session_id": self.session_id, "tweaks": self.tweaks, "metadata": self.metadata}
        body: dict[str, Any] = {"input": {} if self.input is None else self.input, "mode": mode}
        body |= {name: value for name, value in given.items() if value is not None}
        headers = {"Accept": accept, "Idempotency-Key": self.key}
        return Request("POST", f"/v1/deployments/{segment(self.deployment)}/runs", body, headers, silence)


def run(caller: Caller, asked: Asked, timeout: float | None) -> Steps[Run]:
    """Start a run and wait for its end. A time limit needs the run's id before the end: then it is submitted."""
    if timeout is not None:
        caller = caller.until(timeout)
        started = yield from submit(caller, asked)
        return (yield from _followed(caller, started.id))
    answer = yield from caller.call(asked.request("sync", silence=max(caller.silence, _SYNC_SILENCE_SECONDS)))
    found = read_run(answer.body)
    return found if found.ended else (yield from _followed(caller, found.id))


def submit(caller: Caller, asked: Asked) -> Steps[Run]:
    """Start a run."""
    return read_run((yield from caller.call(asked.request("async"))).body)


def get_run(caller: Caller, run_id: str) -> Steps[Run]:
    """The run as it is."""
    return read_run((yield from caller.call(Request("GET", f"/v1/runs/{segment(run_id)}"))).body)


def wait(caller: Caller, run_id: str, timeout: float | None) -> Steps[Run]:
    """The run once it has ended. One that has is found with one call; any other is followed."""
    caller = caller.until(timeout)
    found = yield from get_run(caller, run_id)
    return found if found.ended else (yield from _followed(caller, run_id))


def stream(caller: Caller, asked: Asked) -> EventStream:
    """Start a run and follow it."""
    return EventStream(caller, asked.request("stream", accept="text/event-stream", silence=SILENCE_SECONDS))


def events(caller: Caller, run_id: str, after: int) -> EventStream:
    """Follow a run there is."""
    return EventStream(caller, events_of(run_id, str(after)), after)


def cancel(caller: Caller, run_id: str) -> Steps[Run]:
    """End the run. A repeated cancel is none: the first may have arrived though its answer did not."""
    try:
        answer = yield from caller.call(Request("POST", f"/v1/runs/{segment(run_id)}/cancel"))
    except HeadgateError as error:
        if error.status != 409:
            raise
        found = yield from get_run(caller, run_id)
        if found.status != "cancelled":
            raise
        return found
    return read_run(answer.body)


def batch(caller: Caller, deployment: str, inputs: Sequence[Mapping[str, Any]], key: str) -> Steps[Batch]:
    """Start a run for each input."""
    headers = {"Idempotency-Key": key}
    body = {"inputs": list(inputs)}
    request = Request("POST", f"/v1/deployments/{segment(deployment)}/batch", body, headers)
    return read_batch((yield from caller.call(request)).body)


def get_batch(caller: Caller, batch_id: str) -> Steps[Batch]:
    """The batch as it is."""
    return read_batch((yield from caller.call(Request("GET", f"/v1/batches/{segment(batch_id)}"))).body)


def wait_batch(caller: Caller, batch_id: str, timeout: float | None) -> Steps[Batch]:
    """The batch once all its runs have ended: asked for again and again, less and less often."""
    caller, pause = caller.until(timeout), _FIRST_POLL_SECONDS
    while not (found := (yield from get_batch(caller, batch_id))).ended:
        if caller.is_late:
            raise WaitTimeout(batch_id)
        yield Pause(min(pause, max(0.0, caller.deadline - caller.clock())))
        pause = min(pause * 1.5, _LAST_POLL_SECONDS)
    return found


def run_flow(
    caller: Caller, flow_id: str, input_value: str, tweaks: Tweaks | None, session_id: str | None
) -> Steps[FlowResult]:
    """Run a flow the way Langflow's client does. A run that failed is RunFailed: this dialect has no failed result."""
    given = {"tweaks": tweaks, "session_id": session_id}
    body = {"input_value": input_value, **{name: value for name, value in given.items() if value is not None}}
    path = f"/langflow/api/v1/flows/{segment(flow_id)}/run"
    headers = {"Idempotency-Key": new_key()}
    silence = max(caller.silence, _SYNC_SILENCE_SECONDS)
    try:
        answer = yield from caller.call(Request("POST", path, body, headers, silence))
    except HeadgateError as error:
        if error.status == 500 and error.run_id:
            raise RunFailed(error.code or "failed", error.detail, run_id=error.run_id, status=500) from error
        raise
    if answer.status == 202 and answer.run_id:
        return _as_flow_result((yield from _followed(caller, answer.run_id)))
    return read_flow_result(answer.body)


def checked(steps: Steps[Run], check: bool) -> Steps[Run]:
    """The run; with `check`, RunFailed unless it completed."""
    found = yield from steps
    return found.raise_for_status() if check else found


def _followed(caller: Caller, run_id: str) -> Steps[Run]:
    following = events(caller, run_id, 0)
    try:
        while (yield from following.next()) is not None:
            pass
        return (yield from get_run(caller, run_id))
    except WaitTimeout as error:
        raise WaitTimeout(run_id, run_id) from error


def _as_flow_result(found: Run) -> FlowResult:
    found.raise_for_status()
    tokens = found.usage.input_tokens + found.usage.output_tokens
    metadata = {"duration": found.raw.get("duration_seconds"), "tokens_used": tokens}
    return FlowResult(found.output, found.session_id, metadata, found.raw)
