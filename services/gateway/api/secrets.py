"""Secrets: set, listed by name, deleted. A value goes in and never comes out; the log hears the name."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from libs.edge.bodies import invalid
from libs.edge.problems import Detail, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.appends import Conflict
from libs.events.broker import Unavailable
from libs.events.managed import Change, Permission, SecretName, recall, record, subject_of
from libs.storage.secrets import Recorded, Secret
from services.gateway.paging import PageQuery, cut
from services.gateway.state import Gateway

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MAX_VALUE_BYTES = 32 * 1024
_TRIES = 20


class SecretBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret's value: at most 32 KiB of text."""

    value: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_VALUE_BYTES)]


class SecretList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of secrets, without their values."""

    data: list[Secret]
    next_cursor: str | None


async def put_secret(call: Call[Gateway]) -> Reply:
    """Set a secret. Runs that begin more than five seconds later read the new value."""
    name = call.request.match_info["name"]
    if _NAME.fullmatch(name) is None:
        raise invalid(Detail(pointer="/name", detail="must be 1 to 64 letters, digits and underscores, no digit first"))
    body: SecretBody = call.body
    if len(body.value.encode()) > _MAX_VALUE_BYTES:
        raise invalid(Detail(pointer="/value", detail=f"must not be longer than {_MAX_VALUE_BYTES} bytes"))
    workspace = call.caller.workspace
    secret, created = await call.app.secrets.put(workspace, name, body.value, _recorded(call, name, "secret.set"))
    return Reply(status=201 if created else 200, body=secret)


async def list_secrets(call: Call[Gateway]) -> Reply:
    """The names of the workspace's secrets, newest first."""
    query: PageQuery = call.query
    found = await call.app.secrets.page(call.caller.workspace, query.after, query.limit + 1)
    return Reply(body=cut(found, query.limit, lambda s: (s.created_at, s.name), lambda s: s))


async def delete_secret(call: Call[Gateway]) -> Reply:
    """Delete a secret. Nodes that read it fail from then on."""
    name = call.path("name")
    recorded = _recorded(call, name, "secret.deleted", deleted=True)
    if not await call.app.secrets.delete(call.caller.workspace, name, recorded):
        raise not_found("secret")
    return Reply(status=204)


def _recorded(call: Call[Gateway], name: str, kind: str, *, deleted: bool = False) -> Recorded:
    """Puts the change on the log, where it can be audited: who, when, which name."""

    async def append() -> None:
        now = datetime.now(UTC)
        state = SecretName(workspace=call.caller.workspace, name=name, updated_at=now, deleted=deleted)
        subject = subject_of(state.workspace, state)
        change = Change(type=kind, at=now, by=call.caller.key_id, address=call.address, state=state)
        for _ in range(_TRIES):
            last = await recall(call.app.broker, subject)
            try:
                await record(call.app.broker, subject, change, after=last.sequence if last else 0)
            except Conflict:
                continue
            return
        raise Unavailable("others change this secret at the same time")

    return append


def _route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
    permission: Permission = "read" if method == "GET" else "write"
    return Route(
        method=method, path=path, handler=handler, summary=summary, tag="secrets", permission=permission, **more
    )


ROUTES = (
    _route(
        "PUT",
        "/v1/secrets/{name}",
        put_secret,
        "Set a secret",
        body=SecretBody,
        answer=Secret,
        also={201: "It is new."},
    ),
    _route("GET", "/v1/secrets", list_secrets, "List the names of secrets", query=PageQuery, answer=SecretList),
    _route("DELETE", "/v1/secrets/{name}", delete_secret, "Delete a secret", status=204),
)
