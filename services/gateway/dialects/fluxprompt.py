"""FluxPrompt: `POST /flux/api-v2?flowId=…`, inputs as a list of texts by input id."""

from typing import Any, Literal

import msgspec

from libs.edge.problems import Detail, Problem
from libs.edge.routes import Call, Reply, Route
from libs.flows import CompiledFlow
from libs.flows.filters import text_of
from libs.flows.nodes.api_output import ApiOutput
from libs.runtime.ids import is_token
from services.gateway.acceptance import IDEMPOTENCY, Accepted, Asked, accept, callable_deployment, deployed_flow
from services.gateway.answers import finished, flow_of, headers_of, read_state
from services.gateway.dialects.envelope import code_of, envelope, must_have_completed
from services.gateway.dialects.fields import field_named, typed
from services.gateway.state import Gateway


class VariableInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One input: a text, a file's address (`fileUrl`) or an uploaded file (`fileId`)."""

    input_id: str
    input_text: Any = None
    file_url: str | None = None
    file_id: str | None = None


class FluxBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All inputs."""

    variable_inputs: list[VariableInput] = []


class FluxQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which flow."""

    flow_id: str


class FluxOutput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one output node gave, as text."""

    output_id: str
    output_text: str


class FluxAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The workflow's results; before they are there, only the run's id."""

    status: Literal["completed", "queued"]
    run_id: str
    output: Any
    outputs: list[FluxOutput]


class FluxError(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The same for an error."""

    status: Literal["error"] = "error"
    message: str
    code: str
    request_id: str


async def call_flow(call: Call[Gateway]) -> Reply:
    """Run a workflow and answer with its results."""
    query: FluxQuery = call.query
    if not is_token(query.flow_id):
        raise Problem("not_found", "There is no such workflow.")
    caller, deployment = callable_deployment(call, query.flow_id)
    flow = await deployed_flow(call.app, deployment)
    body: FluxBody = call.body
    waits = deployment.mode != "async"
    asked = Asked(input=_input(flow, body), body=body, mode=deployment.mode, pointer="")
    accepted = await accept(call, caller, deployment, asked, waits=waits)
    run = await finished(call.app, accepted) if waits else None
    if run is None:
        answer = FluxAnswer(status="queued", run_id=accepted.run.run_id, output=None, outputs=[])
        return Reply(status=202, body=answer, headers=headers_of(accepted))
    must_have_completed(run, headers_of(accepted))
    outputs = await _outputs(call.app, accepted, run.output)
    answer = FluxAnswer(status="completed", run_id=run.id, output=run.output, outputs=outputs)
    return Reply(body=answer, headers=headers_of(accepted))


def _input(flow: CompiledFlow, body: FluxBody) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index, given in enumerate(body.variable_inputs):
        pointer = f"/variableInputs/{index}/inputId"
        field = field_named(flow, given.input_id, pointer)
        if field.name in found:
            detail = "this input is given twice"
            raise Problem("invalid_input", f"{pointer}: {detail}.", [Detail(pointer=pointer, detail=detail)])
        found[field.name] = _value(given) or typed(field, given.input_text)
    return found


def _value(given: VariableInput) -> dict[str, str] | None:
    if given.file_id is not None:
        return {"file_id": given.file_id}
    return None if given.file_url is None else {"url": given.file_url}


async def _outputs(app: Gateway, accepted: Accepted, output: Any) -> list[FluxOutput]:
    """The results by output node; without one, that of the node that the run's output is of."""
    flow = await flow_of(app, accepted)
    outlets = [node.id for node in flow.nodes.values() if isinstance(node, ApiOutput)]
    if len(outlets) == 1:
        return [FluxOutput(output_id=outlets[0], output_text=text_of(output))]
    # Which of several gave something, on a branch that was taken, is known to the log alone.
    nodes = (await read_state(app, accepted.run))[0].nodes
    ended = [node_id for node_id in flow.nodes if node_id in nodes and nodes[node_id].status == "finished"]
    shown = [node_id for node_id in ended if node_id in outlets] if outlets else ended[-1:]
    return [FluxOutput(output_id=node_id, output_text=text_of(nodes[node_id].output)) for node_id in shown]


def _error(problem: Problem, request_id: str) -> FluxError:
    return FluxError(message=problem.detail, code=code_of(problem), request_id=request_id)


ROUTES = (
    Route(
        method="POST",
        path="/flux/api-v2",
        handler=call_flow,
        summary="FluxPrompt: run a workflow",
        tag="dialects",
        permission="execute",
        plain=True,
        anonymous=True,
        query=FluxQuery,
        body=FluxBody,
        answer=FluxAnswer,
        also={202: "Queued: the deployment is asynchronous, or the run takes longer than a call may wait."},
        headers=IDEMPOTENCY,
        error=FluxError,
        errors=envelope(_error),
    ),
)
