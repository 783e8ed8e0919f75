"""Accepting a run: who asks, of what, with what; one append, and then it exists.

Nothing is accepted without its event on disk, and nothing is accepted twice: with an `Idempotency-Key` the run's id
follows from workspace, deployment and key, and the append goes through only as the run's first. Every dialect
ends up here.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec

from libs.catalog.versions import UnknownVersion
from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import Call, require
from libs.events.broker import Unavailable
from libs.events.log import Conflict, TooLarge
from libs.events.managed import Deployment, Mode
from libs.events.run_events import Append, RequestedData, RunRequested, decode_append
from libs.events.subjects import Kind, RunKey
from libs.flows import CompiledFlow, InvalidInput, InvalidTweaks, apply_tweaks
from libs.runtime.ids import derived_id, new_id
from services.gateway.state import Gateway

_KEY_HEADER = "Idempotency-Key"
_KEY_CHARACTERS = 255
_PATIENCE_SECONDS = 4.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants, in whatever dialect it was said. `body` is what idempotency compares."""

    input: Any
    body: Any
    mode: Mode | None = None
    session_id: str | None = None
    tweaks: dict[str, dict[str, Any]] = {}
    metadata: dict[str, Any] = {}
    pointer: str = "/input"
    """Where the input lies in the dialect's body, for the pointers of faults."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A run that exists. `replayed`: it did before this call."""

    run: RunKey
    requested: RunRequested
    deployment: Deployment
    mode: Mode
    replayed: bool


def find_deployment(call: Call[Gateway], id_or_flow: str) -> Deployment:
    """The active deployment that a path names, if the key may run it."""
    require(call.caller, "execute")
    deployment = call.app.directory.deployment(call.caller.workspace, id_or_flow)
    bound = call.caller.deployment_ids
    if bound and (deployment is None or deployment.id not in bound):
        raise Problem("forbidden", "This key is for another deployment.")
    if deployment is None:
        raise not_found("deployment")
    if deployment.status != "active":
        raise Problem("deployment_inactive", "This deployment is not active; redeploy it to call it again.")
    return deployment


async def accept(call: Call[Gateway], deployment: Deployment, asked: Asked, *, waits: bool = False) -> Accepted:
    """Accept a run. Problems: invalid_input, idempotency_conflict, payload_too_large, unavailable.

    `waits`: the executor is to send the run's end to this gateway.
    """
    app = call.app
    flow = await _flow(app, deployment)
    checked = _read_input(flow, asked)
    _check_tweaks(flow, asked)
    key = idempotency_key(call.request.headers.get(_KEY_HEADER))
    run_id = derived_id("run", deployment.workspace, deployment.id, key) if key else new_id("run")
    mode = asked.mode or deployment.mode
    run = RunKey(deployment.workspace, run_id)
    requested = RunRequested(
        seq=1,
        run_id=run_id,
        at=datetime.now(UTC),
        data=RequestedData(
            flow_id=deployment.flow_id,
            deployment_id=deployment.id,
            version=deployment.version,
            input=checked,
            mode=mode,
            session_id=asked.session_id,
            tweaks=asked.tweaks,
            metadata=asked.metadata,
        ),
    )
    append = Append(
        by=call.caller.key_id,
        events=[requested],
        address=call.address,
        trace=call.trace,
        reply=app.waiting.gateway if waits else None,
        fingerprint=fingerprint(asked.body) if key else None,
    )
    if waits:
        app.waiting.expect(run)
    accepted = Accepted(run=run, requested=requested, deployment=deployment, mode=mode, replayed=False)
    try:
        await app.log.append(run, Kind.REQUESTED, append, after=0, patience_seconds=_PATIENCE_SECONDS)
    except (Conflict, TooLarge, Unavailable) as error:
        if waits:
            app.waiting.forget(run)
        return await _not_appended(app, accepted, append, error)
    return accepted


async def _not_appended(app: Gateway, accepted: Accepted, append: Append, error: Exception) -> Accepted:
    """The run that this key asked for before, if it asked for the same; else the error as a problem."""
    if isinstance(error, TooLarge):
        raise Problem("payload_too_large", "The input is larger than one event of the log may be.") from None
    first = await app.log.first(accepted.run) if isinstance(error, Conflict) else None
    if first is None:
        raise Problem("unavailable", "The event log cannot take this run now; try again shortly.") from None
    earlier = decode_append(first.payload)
    requested = earlier.events[0]
    if earlier.fingerprint != append.fingerprint or not isinstance(requested, RunRequested):
        raise Problem("idempotency_conflict", "This Idempotency-Key was used with another body.") from None
    return msgspec.structs.replace(accepted, requested=requested, replayed=True)


async def _flow(app: Gateway, deployment: Deployment) -> CompiledFlow:
    try:
        return await app.versions.get(deployment.workspace, deployment.flow_id, deployment.version)
    except UnknownVersion:
        raise Problem("unavailable", "The deployed version cannot be read now.") from None


def _read_input(flow: CompiledFlow, asked: Asked) -> dict[str, Any]:
    try:
        return flow.read_input(asked.input, pointer=asked.pointer)
    except InvalidInput as error:
        faults = [Detail(pointer=fault.pointer, detail=fault.detail) for fault in error.faults]
        raise Problem("invalid_input", _sentence(faults, "input"), faults) from None


def _check_tweaks(flow: CompiledFlow, asked: Asked) -> None:
    if not asked.tweaks:
        return
    try:
        apply_tweaks(flow.flow, asked.tweaks)
    except InvalidTweaks as error:
        faults = [Detail(pointer=fault.pointer, detail=fault.detail) for fault in error.faults]
        raise Problem("invalid_input", _sentence(faults, "tweaks"), faults) from None


def _sentence(faults: list[Detail], what: str) -> str:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"The {what} does not fit the flow: {faults[0].pointer} {faults[0].detail}{more}."


def idempotency_key(header: str | None) -> str | None:
    """The key in the header, quoted (RFC 8941 String) or not. Problem `invalid_input` when it is no key."""
    if header is None:
        return None
    key = header.strip()
    if len(key) >= 2 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if not key or len(key) > _KEY_CHARACTERS or not key.isprintable():
        detail = f"must hold 1 to {_KEY_CHARACTERS} printable characters"
        fault = Detail(pointer=f"/{_KEY_HEADER}", detail=detail)
        raise Problem("invalid_input", f"{_KEY_HEADER} {detail}.", [fault])
    return key


def fingerprint(body: Any) -> str:
    """SHA-256 of a body as it was understood, so that spaces and the order of keys make no difference."""
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()
