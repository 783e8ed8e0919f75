"""Accepting a run: who asks, of what, with what; one append, and then it exists.

Nothing is accepted without its event on disk, and nothing is accepted twice: with an `Idempotency-Key` the run's id
follows from workspace, deployment and key, and the append goes through only as the run's first. Every dialect
ends up here.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from libs.catalog.versions import UnknownVersion
from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import ANONYMOUS, Call, require
from libs.events.appends import Conflict
from libs.events.auth_calls import Principal
from libs.events.broker import Unavailable
from libs.events.log import TooLarge
from libs.events.managed import Deployment, Limits, Mode
from libs.events.reads import Stored
from libs.events.run import Run
from libs.events.run_events import Append, ReplayOf, RequestedData, RunRequested, decode_append, encode_append
from libs.events.subjects import Kind, RunKey
from libs.flows import CompiledFlow, InvalidInput, InvalidTweaks, apply_tweaks
from libs.runtime.ids import derived_id, is_token, new_id
from libs.runtime.tracing import is_recorded
from services.gateway.cache import place
from services.gateway.state import Gateway
from services.gateway.targets import check_target

_KEY_HEADER = "Idempotency-Key"
_KEY_CHARACTERS = 255
_PATIENCE_SECONDS = 4.0

IDEMPOTENCY = {_KEY_HEADER: "1 to 255 characters; the same key and body start one run, however often sent."}

SessionId = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.:-]{1,128}$")]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants, in whatever dialect it was said. `body` is what idempotency compares."""

    input: Any
    body: Any
    mode: Mode | None = None
    session_id: str | None = None
    tweaks: dict[str, dict[str, Any]] = {}
    metadata: dict[str, Any] = {}
    callback_url: str | None = None
    replay: ReplayOf | None = None
    key: str | None = None
    """What tells this request from others, where that is not said by the `Idempotency-Key`."""
    pointer: str = "/input"
    """Where the input lies in the dialect's body, for the pointers of faults."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A run that exists. `replayed`: it did before this call."""

    run: RunKey
    requested: RunRequested
    deployment: Deployment
    mode: Mode
    replayed: bool = False
    cached: Run | None = None
    """An earlier run's end, which is the answer."""
    cache_as: str | None = None
    """Where this run's end is to be kept."""
    first: Stored | None = None
    """What this call stored, for a stream to begin with; None: it has to be read."""


def callable_deployment(call: Call[Gateway], id_or_flow: str) -> tuple[Principal, Deployment]:
    """The active deployment that a path names, and on whose behalf it runs.

    A key needs the right to execute it. Without a key the deployment must be public, and be named by its own id or its
    flow's: slugs belong to workspaces.
    """
    directory = call.app.directory
    if not is_token(id_or_flow):
        raise not_found("deployment")
    if call.caller is ANONYMOUS:
        deployment = directory.public_deployment(id_or_flow)
        if deployment is None:
            raise Problem("unauthorized", "Send an API key: `Authorization: Bearer sk-…`, `X-API-Key` or `api-key`.")
        limits = directory.workspace_limits(deployment.workspace)
        caller = msgspec.structs.replace(ANONYMOUS, workspace=deployment.workspace, limits=limits)
        call.act_for(caller)
    else:
        caller = call.caller
        require(caller, "execute")
        deployment = directory.deployment(caller.workspace, id_or_flow)
        if caller.deployment_ids and (deployment is None or deployment.id not in caller.deployment_ids):
            raise Problem("forbidden", "This key is for another deployment.")
    if deployment is None:
        raise not_found("deployment")
    return caller, in_service(deployment)


def in_service(deployment: Deployment) -> Deployment:
    """The deployment, if it is active. Problem `deployment_inactive`."""
    if deployment.status != "active":
        raise Problem("deployment_inactive", "This deployment is not active; redeploy it to call it again.")
    return deployment


async def accept(
    call: Call[Gateway], caller: Principal, deployment: Deployment, asked: Asked, *, waits: bool = False
) -> Accepted:
    """Accept a run. Problems: invalid_input, idempotency_conflict, payload_too_large, the limits, unavailable.

    `waits`: the executor is to send the run's end to this gateway.
    """
    app = call.app
    flow = await deployed_flow(app, deployment)
    checked = _read_input(flow, asked)
    _check_tweaks(flow, asked)
    if asked.callback_url is not None:
        check_target(app, asked.callback_url, "/callback_url")
    if flow.uses_session and asked.session_id is None:
        asked = msgspec.structs.replace(asked, session_id=new_id("ses"))
    key = asked.key or idempotency_key(call.request.headers.get(_KEY_HEADER))
    run_id = derived_id("run", deployment.workspace, deployment.id, key) if key else new_id("run")
    run = RunKey(deployment.workspace, run_id)
    requested = _requested(run_id, deployment, asked, checked)
    mode = requested.data.mode
    accepted = Accepted(run=run, requested=requested, deployment=deployment, mode=mode)
    if waits and deployment.cache_seconds and not asked.session_id and not asked.callback_url:
        accepted = msgspec.structs.replace(accepted, cache_as=place(deployment, checked, asked.tweaks))
        cached = await app.cache.find(accepted.cache_as or "")
        if cached is not None:
            earlier = RunKey(deployment.workspace, cached.id)
            return msgspec.structs.replace(accepted, run=earlier, cached=cached, cache_as=None)
    append = Append(
        by=caller.key_id,
        events=[requested],
        address=call.address,
        trace=call.trace,
        reply=app.waiting.gateway if waits else None,
        fingerprint=fingerprint(asked.body) if key else None,
    )
    limits = app.directory.limits_of(deployment, caller)
    if not (key or limits) and _is_sociable(flow, asked) and not is_recorded(call.trace):
        together = await _append_together(app, accepted, append, len(flow.straight), waits=waits)
        if together is not None:
            return together
    return await _append_admitted(app, accepted, append, limits, waits=waits)


def _is_sociable(flow: CompiledFlow, asked: Asked) -> bool:
    """Whether the run can be carried through together with others (see `services.executor.straight`)."""
    return bool(flow.straight) and not (asked.session_id or asked.tweaks or asked.replay)


def _requested(run_id: str, deployment: Deployment, asked: Asked, checked: dict[str, Any]) -> RunRequested:
    data = RequestedData(
        flow_id=deployment.flow_id,
        deployment_id=deployment.id,
        version=deployment.version,
        input=checked,
        mode=asked.mode or deployment.mode,
        session_id=asked.session_id,
        tweaks=asked.tweaks,
        metadata=asked.metadata,
        callback_url=asked.callback_url,
        replay=asked.replay,
    )
    return RunRequested(seq=1, run_id=run_id, at=datetime.now(UTC), data=data)


async def _append_admitted(
    app: Gateway, accepted: Accepted, append: Append, limits: Mapping[str, Limits], *, waits: bool
) -> Accepted:
    """Take a slot where there are limits, then make the run; give the slot back if it is not made."""
    run = accepted.run
    if limits:
        if append.fingerprint and (first := await app.log.first(run)) is not None:
            return _earlier(accepted, append, first)
        await app.gate.admit(run, limits)
    if waits:
        app.waiting.expect(run)
    try:
        sequence = await app.log.append(run, Kind.REQUESTED, append, after=0, patience_seconds=_PATIENCE_SECONDS)
    except (Conflict, TooLarge, Unavailable) as error:
        if waits:
            app.waiting.forget(run)
        if limits and not isinstance(error, Unavailable):
            await app.gate.give_back(run, limits, runs_all_the_same=isinstance(error, Conflict))
        return await _not_appended(app, accepted, append, error)
    if accepted.mode != "stream":
        return accepted
    subject, payload = app.log.subject(run, Kind.REQUESTED), encode_append(append)
    return msgspec.structs.replace(accepted, first=Stored(sequence=sequence, subject=subject, payload=payload))


async def _append_together(
    app: Gateway, accepted: Accepted, append: Append, nodes: int, *, waits: bool
) -> Accepted | None:
    """Make the run with others that are asked for at this moment, under an id of theirs; None: it is too large."""
    requested = accepted.requested

    def encode(run_id: str) -> bytes:
        nonlocal requested
        requested = RunRequested(seq=1, run_id=run_id, at=requested.at, data=requested.data)
        return encode_append(
            Append(by=append.by, events=[requested], address=append.address, trace=append.trace, reply=append.reply)
        )

    joined = app.gathering.join(accepted.run.workspace, nodes, encode)
    if joined is None:
        return None
    run, stored = joined
    if waits:
        app.waiting.expect(run)
    try:
        await stored
    except BaseException as error:
        if waits:
            app.waiting.forget(run)
        if isinstance(error, Unavailable | Conflict):
            raise Problem("unavailable", "The event log cannot take this run now; try again shortly.") from None
        raise
    return msgspec.structs.replace(accepted, run=run, requested=requested)


async def _not_appended(app: Gateway, accepted: Accepted, append: Append, error: Exception) -> Accepted:
    """The run that this key asked for before, if it asked for the same; else the error as a problem."""
    if isinstance(error, TooLarge):
        raise Problem("payload_too_large", "The input is larger than one event of the log may be.") from None
    first = await app.log.first(accepted.run) if isinstance(error, Conflict) else None
    if first is None:
        raise Problem("unavailable", "The event log cannot take this run now; try again shortly.") from None
    return _earlier(accepted, append, first)


def _earlier(accepted: Accepted, append: Append, first: Stored) -> Accepted:
    """The run that this key asked for before. Problem `idempotency_conflict` unless it asked for the same."""
    earlier = decode_append(first.payload)
    requested = earlier.events[0]
    if earlier.fingerprint != append.fingerprint or not isinstance(requested, RunRequested):
        raise Problem("idempotency_conflict", "This Idempotency-Key was used with another body.")
    return msgspec.structs.replace(accepted, requested=requested, replayed=True, cache_as=None)


async def deployed_flow(app: Gateway, deployment: Deployment) -> CompiledFlow:
    """The version that a deployment runs, compiled."""
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
