"""How a deployment's hook is told to know its senders: what may be written, and what of it makes sense together."""

from typing import Annotated, Literal

import msgspec

from libs.edge.bodies import invalid
from libs.edge.problems import Detail
from libs.events.managed import Incoming
from services.gateway.signatures import is_usable
from services.gateway.state import Gateway

SecretName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
HeaderName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
Short = Annotated[str, msgspec.Meta(max_length=64)]
FieldName = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
Tolerance = Annotated[int, msgspec.Meta(ge=1, le=86_400, description="How far a signed time may be from ours.")]
Signed = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[ -~]{1,100}$", description="What is signed: `{body}`, with `{timestamp}` where the time is, too."
    ),
]

_ONLY_HMAC = ("header", "algorithm", "encoding", "prefix", "signed", "timestamp_header", "id_member")


class IncomingBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How deliveries at the deployment's hook are verified, and which field of the input takes their body."""

    verify: Literal["none", "standard", "hmac"] = "none"
    secret_name: SecretName | None = None
    tolerance_seconds: Tolerance = 300
    header: HeaderName | None = None
    algorithm: Literal["sha256", "sha1", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: Short = ""
    signed: Signed = "{body}"
    timestamp_header: HeaderName | None = None
    id_member: Short | None = None
    field: FieldName | None = None


async def incoming_from(app: Gateway, workspace: str, body: IncomingBody | None) -> Incoming:
    """The setting that a body means; without one, hooks need a key. Problem `invalid_input`."""
    if body is None:
        return Incoming()
    faults = [Detail(pointer=f"/incoming/{name}", detail=detail) for name, detail in _faults(body)]
    if faults:
        raise invalid(*faults)
    incoming = Incoming(**{**msgspec.structs.asdict(body), "header": body.header or ""})
    if body.secret_name is not None:
        secret = (await app.hook_secrets.read(workspace, frozenset({body.secret_name}))).get(body.secret_name)
        pointer = "/incoming/secret_name"
        if secret is None:
            raise invalid(Detail(pointer=pointer, detail="names no secret; set it first"))
        if not is_usable(incoming, secret):
            raise invalid(Detail(pointer=pointer, detail="must name a `whsec_…` secret or a `whpk_…` public key"))
    return incoming


def _faults(body: IncomingBody) -> list[tuple[str, str]]:
    found = []
    if body.verify != "none" and body.secret_name is None:
        found.append(("secret_name", f"is needed with `verify`: `{body.verify}`"))
    if body.verify == "hmac":
        if body.header is None:
            found.append(("header", "is needed with `verify`: `hmac`"))
        if body.signed.count("{body}") != 1 or body.signed.count("{timestamp}") > 1:
            found.append(("signed", "must hold `{body}` once, and `{timestamp}` at most once"))
    else:
        plain = IncomingBody()
        given = [name for name in _ONLY_HMAC if getattr(body, name) != getattr(plain, name)]
        found += [(name, "is only for `verify`: `hmac`") for name in given]
    return found
