"""Evaligo: a flat body of fields, always a job; polled at `GET /public/v1/jobs/{job_id}`."""

from datetime import datetime
from typing import Any

import msgspec

from libs.edge.problems import Problem
from libs.edge.routes import Call, Reply, Route
from libs.edge.run_events import RUN_HEADER
from libs.events.run import Run
from services.gateway.acceptance import IDEMPOTENCY, Asked, accept, callable_deployment
from services.gateway.answers import headers_of, read_run
from services.gateway.dialects.envelope import envelope
from services.gateway.state import Gateway

_POLL_SECONDS = "2"

_STATUS = {"queued": "queued", "running": "processing", "completed": "completed"}


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt. It is the same when the job is asked for again with the same `Idempotency-Key`."""

    job_id: str
    status: str
    flow_id: str


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a completed job came to."""

    output: Any


class JobFault(msgspec.Struct, frozen=True, kw_only=True):
    """One field that does not fit; an empty name is the whole body."""

    field: str
    message: str


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, and for bad input where."""

    error: str
    code: str
    details: list[JobFault]


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job: queued, processing, completed (then with `result`) or failed (then with `error`)."""

    job_id: str
    status: str
    flow_id: str
    result: JobResult | None = None
    error: str | None = None
    error_code: str | None = None
    execution_time_seconds: float | None = None
    completed_at: datetime | None = None


async def execute(call: Call[Gateway]) -> Reply:
    """Submit a job."""
    caller, deployment = callable_deployment(call, call.path("flow_id"))
    accepted = await accept(call, caller, deployment, Asked(input=call.body, body=call.body, mode="async", pointer=""))
    receipt = Submitted(job_id=accepted.run.run_id, status="queued", flow_id=deployment.flow_id)
    location = {"Location": f"/public/v1/jobs/{accepted.run.run_id}"}
    return Reply(status=202, body=receipt, headers={**location, **headers_of(accepted)})


async def job(call: Call[Gateway]) -> Reply:
    """What became of a job."""
    run = await read_run(call, call.path("job_id"))
    shown = _job(run)
    waiting = {"Retry-After": _POLL_SECONDS} if shown.status in ("queued", "processing") else {}
    return Reply(body=shown, headers={RUN_HEADER: run.id, **waiting})


def _job(run: Run) -> Job:
    failed = run.status in ("failed", "cancelled")
    message = run.error.message if run.error else "the run was cancelled"
    return Job(
        job_id=run.id,
        status=_STATUS.get(run.status, "failed"),
        flow_id=run.flow_id,
        result=JobResult(output=run.output) if run.status == "completed" else None,
        error=message if failed else None,
        error_code=(run.error.code if run.error else "cancelled") if failed else None,
        execution_time_seconds=run.duration_seconds,
        completed_at=run.finished_at,
    )


def _error(problem: Problem, _: str) -> JobError:
    details = [JobFault(field=each.pointer.removeprefix("/"), message=each.detail) for each in problem.errors]
    return JobError(error=problem.detail, code=problem.code, details=details)


ROUTES = (
    Route(
        method="POST",
        path="/public/v1/flows/execute/{flow_id}",
        handler=execute,
        summary="Evaligo: submit a job",
        tag="dialects",
        permission="execute",
        plain=True,
        anonymous=True,
        body=Any,
        answer=Submitted,
        status=202,
        headers=IDEMPOTENCY,
        error=JobError,
        errors=envelope(_error),
    ),
    Route(
        method="GET",
        path="/public/v1/jobs/{job_id}",
        handler=job,
        summary="Evaligo: what became of a job",
        tag="dialects",
        permission=None,
        answer=Job,
        error=JobError,
        errors=envelope(_error),
    ),
)
