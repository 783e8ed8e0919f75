"""aicuflow: `POST /node/deployment-trigger/{id}/`, input in `input_data`, answers in a `status`/`data` envelope."""

from typing import Any, Literal

import msgspec

from libs.edge.routes import Call, Reply, Route
from services.gateway.acceptance import IDEMPOTENCY, Asked, accept, callable_deployment
from services.gateway.answers import finished, headers_of
from services.gateway.dialects.envelope import code_of, envelope, must_have_completed
from services.gateway.state import Gateway


class TriggerBody(msgspec.Struct, frozen=True, kw_only=True):
    """The input's fields."""

    input_data: Any = {}


class TriggerData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the run. `output_data` and `duration_seconds` are there when it was waited for."""

    status: Literal["queued", "completed"]
    job_id: str
    output_data: Any = msgspec.UNSET
    duration_seconds: float | msgspec.UnsetType = msgspec.UNSET


class TriggerError(msgspec.Struct, frozen=True, kw_only=True):
    """The same for an error: the seed's clients look at `status` and show `message`."""

    status: Literal["error"] = "error"
    message: str
    code: str


class TriggerAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The seed's envelope."""

    status: Literal["success"]
    data: TriggerData
    message: str | msgspec.UnsetType = msgspec.UNSET


async def trigger(call: Call[Gateway]) -> Reply:
    """Run the deployment: wait for the result where it is synchronous, else say that it was triggered."""
    caller, deployment = callable_deployment(call, call.path("deployment_id"))
    body: TriggerBody = call.body
    waits = deployment.mode != "async"
    asked = Asked(input=body.input_data, body=body, mode=deployment.mode, pointer="/input_data")
    accepted = await accept(call, caller, deployment, asked, waits=waits)
    run = await finished(call.app, accepted) if waits else None
    if run is None:
        data = TriggerData(status="queued", job_id=accepted.run.run_id)
        answer = TriggerAnswer(status="success", message="The flow was triggered.", data=data)
        return Reply(status=202, body=answer, headers=headers_of(accepted))
    must_have_completed(run, headers_of(accepted))
    data = TriggerData(
        status="completed", job_id=run.id, output_data=run.output, duration_seconds=run.duration_seconds or 0.0
    )
    return Reply(body=TriggerAnswer(status="success", data=data), headers=headers_of(accepted))


ROUTES = (
    Route(
        method="POST",
        path="/node/deployment-trigger/{deployment_id}/",
        handler=trigger,
        summary="aicuflow: run a deployment",
        tag="dialects",
        permission="execute",
        plain=True,
        anonymous=True,
        body=TriggerBody,
        answer=TriggerAnswer,
        also={202: "Triggered: the deployment is asynchronous, or the run takes longer than a call may wait."},
        headers=IDEMPOTENCY,
        error=TriggerError,
        errors=envelope(lambda problem, _: TriggerError(message=problem.detail, code=code_of(problem))),
    ),
)
