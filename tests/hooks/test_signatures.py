"""A delivery is genuine when the holder of the secret signed these bytes at about this time, and not otherwise."""

import base64
import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from multidict import CIMultiDict

from libs.events.managed import Incoming
from services.gateway.signatures import NotGenuine, delivery_of, is_signed, is_usable
from tests.hooks.signing import SECRET, WORD, standard, with_body, with_time

NOW = 1_614_265_330.0
STANDARD = Incoming(verify="standard", secret_name="s")
ON_BODY = Incoming(verify="hmac", secret_name="s", header="X-Hub-Signature-256", prefix="sha256=")
ON_TIME = Incoming(verify="hmac", secret_name="s", header="Pay-Signature", prefix="v1=", signed="{timestamp}.{body}")
BODY = b'{"id": "evt_1", "amount": 3}'


def delivery(incoming: Incoming, headers: dict[str, str], body: bytes = BODY, secret: str = WORD) -> str:
    return delivery_of(incoming, CIMultiDict(headers), body, secret, NOW)


def refused(incoming: Incoming, headers: dict[str, str], body: bytes = BODY, secret: str = WORD) -> str:
    with pytest.raises(NotGenuine) as error:
        delivery(incoming, headers, body, secret)
    return str(error.value)


def test_the_example_of_the_standard_is_genuine() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert delivery(STANDARD, headers, b'{"test": 2432232314}', SECRET) == "id:msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_the_example_of_a_sender_that_signs_the_body_alone_is_genuine() -> None:
    signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"X-Hub-Signature-256": f"sha256={signature}"}
    assert delivery(ON_BODY, headers, b"Hello, World!") == f"signature:{signature}"


def test_one_of_several_signatures_is_enough() -> None:
    other = "whsec_" + base64.b64encode(b"another secret of 32 bytes......").decode()
    for secret in (SECRET, other):
        assert delivery(STANDARD, standard(BODY, at=NOW, secrets=(other, SECRET)), secret=secret) == "id:msg_1"
    assert "does not match" in refused(STANDARD, standard(BODY, at=NOW, secrets=(other,)), secret=SECRET)
    assert delivery(ON_TIME, {"Pay-Signature": with_time(BODY, at=NOW)}).startswith("signature:")


def test_a_public_key_verifies_what_its_private_key_signed() -> None:
    private = Ed25519PrivateKey.generate()
    public = base64.b64encode(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    signed = b"msg_1.%d." % NOW + BODY
    headers = standard(BODY, at=NOW)
    assert "does not match" in refused(STANDARD, headers, secret=f"whpk_{public}")
    both = {
        "webhook-signature": f"{headers['webhook-signature']} v1a,{base64.b64encode(private.sign(signed)).decode()}"
    }
    assert delivery(STANDARD, {**headers, **both}, secret=f"whpk_{public}") == "id:msg_1"
    assert "does not match" in refused(STANDARD, {**headers, **both}, BODY + b" ", secret=f"whpk_{public}")


@pytest.mark.parametrize("seconds", [-301, 301, -(10**9), 10**9])
def test_an_old_delivery_is_refused_however_well_it_is_signed(seconds: float) -> None:
    assert "300 seconds" in refused(STANDARD, standard(BODY, at=NOW + seconds), secret=SECRET)
    assert "300 seconds" in refused(ON_TIME, {"Pay-Signature": with_time(BODY, at=NOW + seconds)})


@pytest.mark.parametrize("seconds", [-300, 300])
def test_one_at_the_edge_of_the_time_is_not(seconds: float) -> None:
    assert delivery(STANDARD, standard(BODY, at=NOW + seconds), secret=SECRET)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-id": "msg 1"},
        {"webhook-id": "m" * 256},
        {"webhook-id": "msg_\udcff"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "1614265331"},
        {"webhook-timestamp": "1614265330.0"},
        {"webhook-timestamp": " 1614265330"},
        {"webhook-timestamp": "١٦١٤٢٦٥٣٣٠"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,!!!!"},
        {"webhook-signature": "v1,\udcff"},
        {"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "v1," * 10_000},
    ],
    ids=ascii,
)
def test_what_was_changed_is_refused(changes: dict[str, str]) -> None:
    assert refused(STANDARD, {**standard(BODY, at=NOW), **changes}, secret=SECRET)


def test_the_same_signed_bytes_are_no_other_delivery() -> None:
    """Without a rule for ids, `a.1.2.3` could be id `a`, time 1 and body `2.3`, or id `a.1`, time 2 and body `3`."""
    body = b"%d.5" % NOW
    headers = standard(body, at=NOW)
    moved = {"webhook-id": f"msg_1.{int(NOW)}", "webhook-signature": headers["webhook-signature"]}
    assert delivery(STANDARD, headers, body, SECRET)
    assert "webhook-id" in refused(STANDARD, {**headers, **moved}, b"5", SECRET)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha=", "v0="])
def test_a_sender_signs_in_its_own_way(algorithm: Any, encoding: Any, prefix: str) -> None:
    incoming = Incoming(verify="hmac", header="X-S", algorithm=algorithm, encoding=encoding, prefix=prefix)
    digest = hmac.new(WORD.encode(), BODY, getattr(hashlib, algorithm)).digest()
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    assert delivery(incoming, {"x-s": prefix + text}) == f"signature:{digest.hex()}"
    assert refused(incoming, {"x-s": f"other={text}"})
    assert refused(incoming, {"x-s": prefix + text}, BODY + b"\n")
    assert refused(incoming, {"x-s": prefix + text}, secret=WORD + "!")
    if prefix:
        assert refused(incoming, {"x-s": text})


def test_one_signature_written_in_two_ways_is_one_delivery() -> None:
    signature = with_body(BODY)
    upper = f"sha256={signature.upper()}"
    assert delivery(ON_BODY, {"X-Hub-Signature-256": upper}) == f"signature:{signature}"


def test_the_time_may_stand_in_a_header_of_its_own() -> None:
    incoming = Incoming(
        verify="hmac", header="X-Sig", prefix="v0=", signed="v0:{timestamp}:{body}", timestamp_header="X-Time"
    )
    signature = "v0=" + hmac.new(WORD.encode(), b"v0:%d:" % NOW + BODY, "sha256").hexdigest()
    assert delivery(incoming, {"X-Sig": signature, "X-Time": "1614265330"})
    assert "does not match" in refused(incoming, {"X-Sig": signature, "X-Time": "1614265331"})
    assert "time is missing" in refused(incoming, {"X-Sig": signature})


def test_a_member_of_the_body_tells_deliveries_apart_where_the_sender_signs_each_attempt_anew() -> None:
    incoming = Incoming(**{f: getattr(ON_TIME, f) for f in ON_TIME.__struct_fields__} | {"id_member": "id"})
    told = {delivery(incoming, {"Pay-Signature": with_time(BODY, at=NOW + n)}) for n in range(3)}
    assert told == {"member:evt_1"}
    for body in (b"[1]", b"no JSON", b"{}", b'{"id": null}', b'{"id": true}', b'{"id": {}}', b"[" * 5_000):
        assert delivery(incoming, {"Pay-Signature": with_time(body, at=NOW)}, body).startswith("signature:")


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!", "whsec_c2hvcnQ=", "whpk_", "no base64"])
def test_a_secret_that_is_none_verifies_nothing(secret: str) -> None:
    assert not is_usable(STANDARD, secret)
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret == "whsec_c2hvcnQ=" else b""
    signature = base64.b64encode(hmac.new(key, b"msg_1.%d." % NOW + BODY, "sha256").digest()).decode()
    headers = {**standard(BODY, at=NOW), "webhook-signature": f"v1,{signature} v1a,{signature}"}
    assert "does not match" in refused(STANDARD, headers, secret=secret)


def test_only_what_has_a_signature_is_signed() -> None:
    assert is_signed(STANDARD, CIMultiDict({"Webhook-Signature": ""}))
    assert not is_signed(STANDARD, CIMultiDict({"X-Hub-Signature-256": "x"}))
    assert is_signed(ON_BODY, CIMultiDict({"x-hub-signature-256": "x"}))
    assert not is_signed(Incoming(), CIMultiDict({"webhook-signature": "x", "": "x"}))
