"""Batches: many runs asked for at once, each begun as soon as there is room for it."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import Call, Reply, Route, require
from libs.events.appends import Conflict
from libs.events.managed import Batch, Change, Deployment, Limits, recall, record, subject_of
from libs.events.run import Run, Status, fold, run_of
from libs.events.run_events import Append, RequestedData, RunRequested
from libs.events.subjects import Kind, RunKey, managed_subject
from libs.flows import CompiledFlow, InvalidInput
from libs.runtime.ids import derived_id, new_id
from services.gateway.acceptance import (
    IDEMPOTENCY,
    callable_deployment,
    deployed_flow,
    fingerprint,
    idempotency_key,
)
from services.gateway.state import Gateway

_AT_ONCE = 64
_MAX_FAULTS = 100


class BatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The inputs, one a run."""

    inputs: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=1000)]
    metadata: dict[str, Any] = {}


class BatchRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a batch, in the order of the inputs."""

    id: str
    status: Status


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A batch and how its runs stand."""

    batch_id: str
    deployment_id: str
    created_at: datetime
    status: str
    """`running` until every run has ended, then `completed`."""
    counts: dict[str, int]
    runs: list[BatchRun]


async def create_batch(call: Call[Gateway]) -> Reply:
    """Accept all runs or none: 400 names each input at fault, 429 says that the month's quota cannot hold them."""
    caller, deployment = callable_deployment(call, call.path("deployment_id"))
    body: BatchBody = call.body
    inputs = _checked(await deployed_flow(call.app, deployment), body.inputs)
    key = idempotency_key(call.request.headers.get("Idempotency-Key"))
    batch_id = derived_id("batch", deployment.workspace, deployment.id, key) if key else new_id("batch")
    batch = Batch(
        id=batch_id,
        workspace=deployment.workspace,
        deployment_id=deployment.id,
        size=len(inputs),
        created_at=datetime.now(UTC),
        fingerprint=fingerprint(body) if key else "",
    )
    limits = call.app.directory.limits_of(deployment, caller)
    fresh = await _record_charged(call, batch, caller.key_id, limits)
    # Also when it was asked for before: that call may have been cut off in the middle of these.
    kind = Kind.HELD if limits else Kind.REQUESTED
    wanted = [_append(batch, deployment, number, given, body.metadata, caller.key_id) for number, given in inputs]
    room, trace = asyncio.Semaphore(_AT_ONCE), call.trace

    async def ask(run: RunKey, append: Append) -> None:
        async with room:
            try:
                await call.app.log.append(run, kind, msgspec.structs.replace(append, trace=trace), after=0)
            except Conflict:
                return

    await asyncio.gather(*[ask(run, append) for run, append in wanted])
    queued = [BatchRun(id=run.run_id, status="queued") for run, _ in wanted]
    answer = _answer(batch, queued) if fresh else await _standing(call, batch)
    return Reply(status=202, body=answer, headers={"Location": f"/v1/batches/{batch_id}"})


async def get_batch(call: Call[Gateway]) -> Reply:
    """How the runs of a batch stand."""
    if "execute" not in call.caller.permissions:
        require(call.caller, "read")
    workspace, batch_id = call.caller.workspace, call.path("batch_id")
    found = await recall(call.app.broker, managed_subject(workspace, "batch", batch_id))
    batch = found.change.state if found else None
    if not isinstance(batch, Batch):
        raise not_found("batch")
    if call.caller.deployment_ids and batch.deployment_id not in call.caller.deployment_ids:
        raise Problem("forbidden", "This key is for another deployment.")
    return Reply(body=await _standing(call, batch))


async def _standing(call: Call[Gateway], batch: Batch) -> BatchAnswer:
    room = asyncio.Semaphore(_AT_ONCE)

    async def read(number: int) -> BatchRun:
        async with room:
            run = await _read(call, RunKey(batch.workspace, _run_id(batch, number)))
        return BatchRun(id=_run_id(batch, number), status=run.status if run else "queued")

    return _answer(batch, await asyncio.gather(*[read(number) for number in range(batch.size)]))


def _checked(flow: CompiledFlow, inputs: list[Any]) -> list[tuple[int, dict[str, Any]]]:
    checked: list[tuple[int, dict[str, Any]]] = []
    faults: list[Detail] = []
    for number, given in enumerate(inputs):
        try:
            checked.append((number, flow.read_input(given, pointer=f"/inputs/{number}")))
        except InvalidInput as error:
            faults += [Detail(pointer=fault.pointer, detail=fault.detail) for fault in error.faults]
    if faults:
        raise Problem("invalid_input", f"{len(faults)} faults in the inputs.", faults[:_MAX_FAULTS])
    return checked


def _append(
    batch: Batch, deployment: Deployment, number: int, given: dict[str, Any], metadata: dict[str, Any], by: str
) -> tuple[RunKey, Append]:
    run_id = _run_id(batch, number)
    data = RequestedData(
        flow_id=deployment.flow_id,
        deployment_id=deployment.id,
        version=deployment.version,
        input=given,
        mode="async",
        metadata=metadata,
        batch_id=batch.id,
    )
    requested = RunRequested(seq=1, run_id=run_id, at=batch.created_at, data=data)
    return RunKey(batch.workspace, run_id), Append(by=by, events=[requested])


def _run_id(batch: Batch, number: int) -> str:
    return derived_id("run", batch.workspace, batch.id, str(number))


async def _known(call: Call[Gateway], batch: Batch) -> Batch | None:
    found = await recall(call.app.broker, subject_of(batch.workspace, batch))
    return found.change.state if found and isinstance(found.change.state, Batch) else None


async def _record_charged(call: Call[Gateway], batch: Batch, by: str, limits: Mapping[str, Limits]) -> bool:
    """Charge and record a batch; False when its key asked for the same one before, which is then not charged again."""
    if await _asked_before(call, batch):
        return False
    if limits:
        await call.app.gate.charge(batch.workspace, batch.size, limits)
    change = Change(type="batch.requested", at=batch.created_at, by=by, address=call.address, state=batch)
    try:
        await record(call.app.broker, subject_of(batch.workspace, batch), change, after=0)
    except Conflict:
        if limits:
            await call.app.gate.charge(batch.workspace, -batch.size, limits)
        return not await _asked_before(call, batch)
    return True


async def _asked_before(call: Call[Gateway], batch: Batch) -> bool:
    """Whether the batch exists. Problem `idempotency_conflict` when its key was used with another body."""
    earlier = await _known(call, batch) if batch.fingerprint else None
    if earlier is not None and earlier.fingerprint != batch.fingerprint:
        raise Problem("idempotency_conflict", "This Idempotency-Key was used with another body.")
    return earlier is not None


async def _read(call: Call[Gateway], run: RunKey) -> Run | None:
    messages = await call.app.log.read(run)
    return run_of(fold([message.payload for message in messages])) if messages else None


def _answer(batch: Batch, runs: list[BatchRun]) -> BatchAnswer:
    counts: Counter[str] = Counter(run.status for run in runs)
    going = counts["queued"] + counts["running"]
    return BatchAnswer(
        batch_id=batch.id,
        deployment_id=batch.deployment_id,
        created_at=batch.created_at,
        status="running" if going else "completed",
        counts=dict(counts),
        runs=runs,
    )


ROUTES = (
    Route(
        method="POST",
        path="/v1/deployments/{deployment_id}/batch",
        handler=create_batch,
        summary="Start up to 1,000 runs",
        tag="runs",
        permission="execute",
        anonymous=True,
        body=BatchBody,
        answer=BatchAnswer,
        status=202,
        headers=IDEMPOTENCY,
    ),
    Route(
        method="GET",
        path="/v1/batches/{batch_id}",
        handler=get_batch,
        summary="How a batch stands",
        tag="runs",
        permission=None,
        answer=BatchAnswer,
    ),
)
