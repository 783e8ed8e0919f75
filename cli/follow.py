"""A run's events from its start to its end, whatever happens to the connection in between."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import msgspec

from cli.api import Api, UnreachableError
from cli.progress import ENDINGS, RunEvent

_TRIES = 12
"""In a row without a single event: some twenty seconds."""
_TRIES_TO_START = 2
_LONGEST_PAUSE_SECONDS = 2.0


async def start_and_follow(api: Api, deployment: str, body: object) -> AsyncIterator[RunEvent]:
    """Start a run and yield its events. The start carries an idempotency key: tried again, it is the same
    run.
    """
    headers = {"Idempotency-Key": secrets.token_urlsafe(24)}
    async for event in _follow(api, deployment, body=body, headers=headers):
        yield event


async def follow(api: Api, run_id: str) -> AsyncIterator[RunEvent]:
    """Yield the events of a run that was started elsewhere, from the first."""
    async for event in _follow(api, "", run_id=run_id):
        yield event


async def _follow(
    api: Api, deployment: str, *, body: object = None, headers: dict[str, str] | None = None, run_id: str = ""
) -> AsyncIterator[RunEvent]:
    last_id, failures = "", 0
    while True:
        resume = {"Last-Event-ID": last_id} if last_id else {}
        if run_id:
            stream = api.stream("GET", f"/v1/runs/{run_id}/events", headers=resume)
        else:
            stream = api.stream("POST", f"/v1/deployments/{deployment}/runs", body=body, headers=headers)
        try:
            silent = True
            async for sent in stream:
                event = msgspec.json.decode(sent.data, type=RunEvent)
                run_id, last_id, failures, silent = event.run_id, sent.id or last_id, 0, False
                yield event
                if event.type in ENDINGS:
                    return
            if silent and resume:
                return  # 204: we have had everything
        except UnreachableError:
            if failures >= (_TRIES if run_id else _TRIES_TO_START):
                raise
        failures += 1
        if failures > _TRIES:
            raise UnreachableError(f"the events of {run_id} stopped before its end")
        await asyncio.sleep(min(0.1 * 2**failures, _LONGEST_PAUSE_SECONDS))
