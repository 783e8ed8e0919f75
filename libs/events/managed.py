"""What is managed: workspaces, keys, flows, versions, deployments, webhooks. Names and fields are stored for ever.

Each change is an event that carries the whole new state, on a subject of its thing: the last message is what it
is now, all messages are its history, and compare-and-set on the subject keeps two writers apart. Registries hold the
last states in memory; a flow version's document is read from its own subject when it is needed.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from libs.events.appends import append_message
from libs.events.broker import Broker
from libs.events.reads import last_message, only_message
from libs.events.subjects import MANAGEMENT, managed_subject

Permission = Literal["read", "execute", "write", "admin"]
Plan = Literal["free", "pro", "enterprise"]
Mode = Literal["sync", "async", "stream"]
WebhookEvent = Literal["flow_started", "flow_completed", "flow_error", "component_completed"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """None: unlimited."""

    concurrent_runs: int | None = None
    monthly_requests: int | None = None
    requests_per_second: int | None = None


class Workspace(msgspec.Struct, frozen=True, kw_only=True, tag="workspace", tag_field="entity"):
    id: str
    name: str
    plan: Plan
    limits: Limits
    created_at: datetime
    root: bool = False
    """The workspace that the installation came with; its admin may make others."""


class KeySecret(msgspec.Struct, frozen=True, kw_only=True):
    """One secret of a key: its keyed hash, never itself."""

    hash: str
    valid_until: datetime | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True, tag="key", tag_field="entity"):
    id: str
    workspace: str
    name: str
    masked: str
    permissions: tuple[Permission, ...]
    created_at: datetime
    secrets: tuple[KeySecret, ...]
    deployment_ids: tuple[str, ...] = ()
    """Empty: every deployment of the workspace."""
    active: bool = True
    expires_at: datetime | None = None
    deleted: bool = False


class SlugClaim(msgspec.Struct, frozen=True, kw_only=True, tag="slug", tag_field="entity"):
    """Which flow a slug belongs to: None once the flow is gone."""

    flow_id: str | None


class FlowHead(msgspec.Struct, frozen=True, kw_only=True, tag="flow", tag_field="entity"):
    id: str
    workspace: str
    slug: str
    name: str
    description: str
    version: int
    """The newest version."""
    created_at: datetime
    updated_at: datetime
    deleted: bool = False


class FlowVersion(msgspec.Struct, frozen=True, kw_only=True, tag="version", tag_field="entity"):
    flow_id: str
    version: int
    created_at: datetime
    document: dict[str, Any]


class Email(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets a run's result by email, and under what subject: templates, filled in by the run."""

    to: str
    subject: str


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment's hook knows a sender by its signature, and where in the input its body goes."""

    verify: Literal["none", "standard", "hmac"] = "none"
    secret_name: str | None = None
    """The secret of the workspace that both sides hold."""
    tolerance_seconds: int = 300
    """How far a signed time may be from ours."""
    header: str = ""
    """`hmac`: the header with the signature, or with several, separated by commas."""
    algorithm: Literal["sha256", "sha1", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    """What stands before a signature, such as `sha256=`; values without it are none."""
    signed: str = "{body}"
    """What is signed: `{body}`, and `{timestamp}` where the sender signs the time too."""
    timestamp_header: str | None = None
    """Where the time stands; None: in the signature's header, as `t=…`."""
    id_member: str | None = None
    """The member of the body that tells deliveries apart; None: the signature does."""
    field: str | None = None
    """The field of the input that takes the whole body; None: the body is the input."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True, tag="deployment", tag_field="entity"):
    id: str
    workspace: str
    flow_id: str
    version: int
    name: str
    type: Literal["production", "test"]
    mode: Mode
    status: Literal["active", "inactive"]
    created_at: datetime
    updated_at: datetime
    public: bool = False
    key_id: str | None = None
    callback_url: str | None = None
    email: Email | None = None
    cache_seconds: int = 0
    limits: Limits = Limits()
    sync_timeout_seconds: float | None = None
    signing_generation: int = 1
    deleted: bool = False
    incoming: Incoming = Incoming()


class Batch(msgspec.Struct, frozen=True, kw_only=True, tag="batch", tag_field="entity"):
    """Runs that were asked for together. Their ids follow from the batch's."""

    id: str
    workspace: str
    deployment_id: str
    size: int
    created_at: datetime
    fingerprint: str = ""
    """SHA-256 of the request's body, for those with an `Idempotency-Key`."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True, tag="webhook", tag_field="entity"):
    """An address that is told of events. Its signing secrets are derived from its id and a generation, never stored."""

    id: str
    workspace: str
    url: str
    events: tuple[WebhookEvent, ...]
    created_at: datetime
    updated_at: datetime
    description: str = ""
    flow_id: str | None = None
    deployment_id: str | None = None
    """Of both: only runs of this one; None: of any."""
    active: bool = True
    disabled_reason: str | None = None
    """Why it was disabled, where Headgate did it: `gone` (it answered 410) or `failing` (for days)."""
    signing_generation: int = 1
    previous_until: datetime | None = None
    """Until when the generation before signs too."""
    deleted: bool = False


class SecretName(msgspec.Struct, frozen=True, kw_only=True, tag="secret", tag_field="entity"):
    """That a secret was set or deleted. Its value is sealed in PostgreSQL and never here."""

    workspace: str
    name: str
    updated_at: datetime
    deleted: bool = False


State = Batch | Workspace | Key | SlugClaim | FlowHead | FlowVersion | Deployment | SecretName | Webhook


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message: what happened (`flow.saved`), to whom it is owed, and the state since then."""

    type: str
    at: datetime
    by: str
    """The id of the key that asked, or a service's name."""
    state: State
    address: str | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A state as it was read, and the stream sequence a change of it must follow."""

    sequence: int
    change: Change


_decoder = msgspec.json.Decoder(Change)


def decode_change(payload: bytes) -> Change:
    """The change in a message of the management stream."""
    return _decoder.decode(payload)


def subject_of(workspace: str, state: State) -> str:
    """Where the states of this thing lie. A version has a subject of its own, so that it cannot be replaced."""
    match state:
        case Workspace():
            return managed_subject(state.id, "workspace", state.id)
        case FlowVersion():
            return version_subject(workspace, state.flow_id, state.version)
        case SecretName():
            return managed_subject(workspace, entity_of(state), state.name)
        case SlugClaim():
            raise ValueError("a slug's subject is made of the slug: use slug_subject")
        case Key() | FlowHead() | Deployment() | Batch() | Webhook():
            return managed_subject(workspace, entity_of(state), state.id)


def entity_of(state: State) -> str:
    """The entity token of a state's subject."""
    return str(type(state).__struct_config__.tag)


def version_subject(workspace: str, flow_id: str, version: int) -> str:
    """Where one version of a flow lies."""
    return managed_subject(workspace, "version", f"{flow_id}-{version}")


def slug_subject(workspace: str, slug: str) -> str:
    """Where the claims of a slug lie."""
    return managed_subject(workspace, "slug", slug)


async def record(broker: Broker, subject: str, change: Change, *, after: int) -> int:
    """Store a change if the last one on its subject has sequence `after` (0: none). Conflict otherwise."""
    payload = msgspec.json.encode(change)
    return await append_message(broker, MANAGEMENT, subject, payload, after=after, patience_seconds=5.0)


async def recall(broker: Broker, subject: str) -> Recorded | None:
    """The last state on a subject, never stale; None when there was none."""
    message = await last_message(broker, MANAGEMENT, subject)
    if message is None:
        return None
    return Recorded(sequence=message.sequence, change=decode_change(message.payload))


async def read_version(broker: Broker, workspace: str, flow_id: str, version: int) -> FlowVersion | None:
    """A flow version's document. Versions never change, so callers may keep it."""
    subject = version_subject(workspace, flow_id, version)
    message = await only_message(broker, MANAGEMENT, subject)
    if message is None:
        return None
    state = decode_change(message.payload).state
    return state if isinstance(state, FlowVersion) else None
