"""Feeds held runs to the executors as slots come free: a batch in a workspace that may run only so many at once.

A held run is a message that this gateway (or any other) takes, admits and asks for again as `requested`. Without a slot
it is put back for a moment. The second append follows the first, so a run that was cancelled meanwhile is not begun.
"""

from libs.edge.problems import Problem
from libs.events.appends import Conflict
from libs.events.broker import Broker
from libs.events.log import EventLog
from libs.events.pull import Delivery
from libs.events.run_events import RunRequested, decode_append
from libs.events.subjects import Kind, RunKey, kind_filter, parse_run_subject, stream_of
from libs.events.worker import Subscription, Worker
from libs.runtime.failures import Retryable, Terminal
from services.gateway.admission.gate import Gate
from services.gateway.directory import Directory

DURABLE = "feeders"
"""The name of the feeders' consumers. A promise: renaming it asks again for every run that was ever held."""

_ROOM = 64
_LEASE_SECONDS = 30.0
_PAUSE_SECONDS = 0.25
_FOR_EVER = 1_000_000_000


class Feeder:
    """Takes held runs of all streams."""

    def __init__(self, event_log: EventLog, gate: Gate, directory: Directory) -> None:
        self._log = event_log
        self._gate = gate
        self._directory = directory

    async def on_run_held(self, delivery: Delivery) -> None:
        """Ask for the run when it has a slot. Retryable while it has none."""
        run, _ = parse_run_subject(delivery.subject)
        append = decode_append(delivery.payload)
        requested = append.events[0] if append.events else None
        if not isinstance(requested, RunRequested):
            raise Terminal("node_failed", "the first event is not run.requested")
        await self._admit(run, requested)
        try:
            await self._log.append(run, Kind.REQUESTED, append, after=delivery.sequence)
        except Conflict:
            # Cancelled, or asked for by another gateway whose acknowledgement was lost.
            return

    async def _admit(self, run: RunKey, requested: RunRequested) -> None:
        deployment_id = requested.data.deployment_id
        deployment = self._directory.deployment(run.workspace, deployment_id)
        if deployment is None:
            # Deleted, or too new to be known here: in neither case is the run without limits.
            limits = await self._directory.limits_on_log(run.workspace, deployment_id)
        else:
            limits = self._directory.limits_of(deployment)
        if not limits:
            return
        try:
            await self._gate.admit(run, limits, charged=True)
        except Problem as problem:
            raise Retryable(problem.code, problem.detail, after=_PAUSE_SECONDS) from None


def feeders(broker: Broker, event_log: EventLog, feeder: Feeder) -> list[Worker]:
    """One worker a stream."""
    workers = []
    for shard in range(event_log.shards):
        subscription = Subscription(
            stream=stream_of(shard),
            durable=DURABLE,
            filter=kind_filter(shard, Kind.HELD),
            lease_seconds=_LEASE_SECONDS,
            max_attempts=_FOR_EVER,
            max_crashes=_FOR_EVER,
        )
        workers.append(_worker(broker, subscription, feeder))
    return workers


def _worker(broker: Broker, subscription: Subscription, feeder: Feeder) -> Worker:
    def free() -> int:
        return _ROOM - found.busy

    found = Worker(broker, subscription, feeder.on_run_held, free)
    return found
