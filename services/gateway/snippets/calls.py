"""What a call of a deployment is made of in each dialect: where it goes, with which header, what it says and hears."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from libs.events.managed import Mode
from libs.flows import CompiledFlow, Field, InvalidInput, sample_input
from services.gateway.dialects.fields import fields_of, text_field

Path = tuple[str, ...]
"""Where something lies in a JSON object: member by member."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as examples call it."""

    name: str
    mode: Mode
    endpoints: dict[str, str]
    key: str
    """Its key, masked."""
    flow: CompiledFlow
    input: dict[str, Any]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is answered with a receipt: how to ask for what became of it."""

    url: str
    """Asked with the receipt's id at its end."""
    id: str
    """The receipt's member with the id, its first."""
    pending: tuple[str, ...]
    """What `status` is until the end."""


class Calling(msgspec.Struct, frozen=True, kw_only=True):
    """One call."""

    key: str
    url: str
    header: str
    """What the key is sent in."""
    bearer: bool = False
    body: Any
    reads: Literal["answer", "stream", "job", "envelope"] = "answer"
    shows: tuple[Path, ...] = (("output",),)
    """Where what is worth printing lies in the answer, or in a job's last state."""
    job: Job | None = None
    typed: bool = True
    """Whether curl names the body's type; a dialect may show that it need not be named."""
    title: str = ""
    """The deployment's name, for people."""
    waits: bool = True
    """Whether the answer has the result."""


def native(sample: Sample) -> Calling:
    """Headgate's own: one answer, a stream, or a run to be asked for, as the deployment's mode is."""
    call = Calling(
        key=sample.key,
        url=sample.endpoints["native"],
        header="Authorization",
        bearer=True,
        body={"input": sample.input},
        shows=(("status",), ("output",)),
    )
    match sample.mode:
        case "sync":
            return call
        case "stream":
            return msgspec.structs.replace(call, body={**call.body, "mode": "stream"}, reads="stream")
        case "async":
            url = sample.endpoints["run"].removesuffix("{run_id}")
            job = Job(url=url, id="id", pending=("queued", "running"))
            return msgspec.structs.replace(call, reads="job", job=job, shows=(("output",),))


def aicuflow(sample: Sample) -> Calling:
    """The seed's own functions, which read its envelope."""
    return Calling(
        key=sample.key,
        url=sample.endpoints["aicuflow"],
        header="X-API-Key",
        body={"input_data": sample.input},
        reads="envelope",
        title=sample.name,
        waits=sample.mode != "async",
    )


def evaligo(sample: Sample) -> Calling:
    """A job, always."""
    url = sample.endpoints["evaligo_jobs"].removesuffix("{job_id}")
    return Calling(
        key=sample.key,
        url=sample.endpoints["evaligo"],
        header="Authorization",
        bearer=True,
        body=sample.input,
        reads="job",
        shows=(("result", "output"),),
        job=Job(url=url, id="job_id", pending=("queued", "processing")),
    )


def langflow(sample: Sample) -> Calling:
    """One text, where the flow asks for no more; else the webhook, which takes any object and answers a receipt."""
    call = Calling(
        key=sample.key,
        url=sample.endpoints["langflow"],
        header="Authorization",
        bearer=True,
        body={},
        shows=(("result", "output"), ("session_id",)),
    )
    name = text_field(sample.flow)
    fields = fields_of(sample.flow)
    if any(field.required and field.default is UNSET and field.name != name for field in fields.values()):
        return msgspec.structs.replace(
            call, url=sample.endpoints["langflow_webhook"], body=sample.input, shows=(("status",), ("run_id",))
        )
    return msgspec.structs.replace(call, body={"input_value": sample.input[name]} if name in sample.input else {})


def flowai(sample: Sample) -> Calling:
    """One answer, or the stream of what every node does."""
    streams = sample.mode == "stream"
    return Calling(
        key=sample.key,
        url=sample.endpoints["flowai"],
        header="X-API-KEY",
        body={"input": sample.input, **({"stream": True} if streams else {})},
        reads="stream" if streams else "answer",
        shows=(("output",), ("total_time",)),
        typed=False,
    )


def fluxprompt(sample: Sample) -> Calling:
    """A list of texts and files by input id."""
    fields = fields_of(sample.flow)
    inputs = [{"inputId": name, **_flux_value(fields[name], value)} for name, value in sample.input.items()]
    return Calling(
        key=sample.key,
        url=sample.endpoints["fluxprompt"],
        header="api-key",
        body={"variableInputs": inputs},
        shows=(("status",), ("output",)),
    )


CALLS: dict[str, Callable[[Sample], Calling]] = {
    "native": native,
    "aicuflow": aicuflow,
    "evaligo": evaligo,
    "langflow": langflow,
    "flowai": flowai,
    "fluxprompt": fluxprompt,
}


def input_of(flow: CompiledFlow) -> dict[str, Any]:
    """An input that the flow takes: its test values; fields that may be left out are, where no good value is known."""
    fields = fields_of(flow)
    optional = {name for name, field in fields.items() if not field.required or field.default is not UNSET}
    sample = sample_input(flow.flow)
    unknown = {name for name in optional if sample[name] is None or _is_made_up_file(fields[name])}
    sample = {name: sample[name] for name in fields if name not in unknown}
    try:
        flow.read_input(sample, pointer="")
    except InvalidInput as error:
        at_fault = {_field_at(fault.pointer) for fault in error.faults}
        return {name: value for name, value in sample.items() if name not in at_fault & optional}
    return sample


def _is_made_up_file(field: Field) -> bool:
    """Whether a sample of it names a file that is not there."""
    return field.type == "file" and field.test_value is UNSET and field.default is UNSET


def _field_at(pointer: str) -> str:
    """The field that a JSON Pointer (RFC 6901) begins with."""
    return pointer[1:].partition("/")[0].replace("~1", "/").replace("~0", "~")


def _flux_value(field: Field, value: Any) -> dict[str, Any]:
    if field.type == "file" and isinstance(value, dict):
        for member, name in (("url", "fileUrl"), ("file_id", "fileId")):
            if member in value:
                return {name: value[member]}
    return {"inputText": value if isinstance(value, str) else msgspec.json.encode(value).decode()}
