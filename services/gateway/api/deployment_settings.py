"""What a deployment may be told to do, as callers write it: when it is made, and when it is changed."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from libs.events.managed import Deployment, Email, Limits, Mode, WebhookEvent
from services.gateway.api.incoming import IncomingBody
from services.gateway.targets import CallbackUrl, WebhookUrl

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Version = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Public = Annotated[bool, msgspec.Meta(description="Whether it may be called without a key, by its id.")]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600, description="How long a synchronous call waits; null: 300.")]
CacheSeconds = Annotated[
    int, msgspec.Meta(ge=0, le=86_400, description="How long an answer is given again to the same input; 0: never.")
]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]


class LimitsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the deployment alone, besides the workspace's. Null: no limit; what is left out stays as it is."""

    concurrent_runs: Limit | UnsetType | None = UNSET
    monthly_requests: Limit | UnsetType | None = UNSET
    requests_per_second: Limit | UnsetType | None = UNSET


class EmailBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who gets every run's result by email. Both may read the run: `{{ run.input.name }}`, `{{ node.path }}`."""

    to: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, description="Addresses, with commas between.")]
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)] = "Run {{ run.id }}: {{ run.status }}"


class WebhookOfDeployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A webhook for this deployment alone."""

    url: WebhookUrl
    events: Annotated[
        tuple[WebhookEvent, ...],
        msgspec.Meta(min_length=1, max_length=4, description="What it is told of; the ends of runs by default."),
    ] = msgspec.field(default_factory=lambda: ("flow_completed", "flow_error"))


Webhooks = Annotated[list[WebhookOfDeployment], msgspec.Meta(max_length=10)]


class DeploymentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a deployment is made with. Without a version, the flow's newest."""

    name: Name | None = None
    type: Literal["production", "test"] = "production"
    mode: Mode = "sync"
    version: Version | None = None
    public: Public = False
    cache_seconds: CacheSeconds | None = None
    limits: LimitsBody | None = None
    sync_timeout_seconds: Seconds | None = None
    callback_url: CallbackUrl | None = None
    email: EmailBody | None = None
    webhooks: Webhooks = []
    incoming: IncomingBody | None = None


class DeploymentPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed; `version` deploys again, or rolls back."""

    name: Name | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    version: Version | UnsetType = UNSET
    public: Public | UnsetType = UNSET
    cache_seconds: CacheSeconds | UnsetType | None = UNSET
    limits: LimitsBody | UnsetType | None = UNSET
    sync_timeout_seconds: Seconds | UnsetType | None = UNSET
    callback_url: CallbackUrl | UnsetType | None = UNSET
    email: EmailBody | UnsetType | None = UNSET
    webhooks: Webhooks | UnsetType = UNSET
    """All of the deployment's own: those left out are deleted."""
    incoming: IncomingBody | UnsetType | None = UNSET


def limits_from(body: LimitsBody | None, before: Limits | None = None) -> Limits:
    """The limits as they were, with what the body says; without a body there are none."""
    return Limits() if body is None else msgspec.structs.replace(before or Limits(), **_given(body))


def changes_of(patch: DeploymentPatch, before: Deployment) -> dict[str, Any]:
    """The fields of a deployment that a patch gives other values, by name."""
    changes = _given(patch)
    if "cache_seconds" in changes:
        changes["cache_seconds"] = changes["cache_seconds"] or 0
    if "limits" in changes:
        changes["limits"] = limits_from(changes["limits"], before.limits)
    if "email" in changes:
        changes["email"] = email_from(changes["email"])
    changes.pop("webhooks", None)
    return changes


def email_from(body: EmailBody | None) -> Email | None:
    """Who gets results by email."""
    return None if body is None else Email(to=body.to, subject=body.subject)


def _given(body: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
