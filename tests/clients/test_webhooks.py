"""Webhooks are believed when they are signed, fresh and whole, and not otherwise: in Python and in JavaScript."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.clients.node import Node

# The example of the Standard Webhooks specification.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT = 1614265330
BODY = '{"test": 2432232314}'
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
OTHER = "whsec_" + base64.b64encode(b"another secret of 32 bytes......").decode()

Verify = Callable[..., Awaitable[Any]]


def signature(body: str, secret: str = SECRET, at: int = AT) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{HEADERS['webhook-id']}.{at}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


async def in_python(body: str, headers: dict[str, str], secret: str = SECRET, now: float = AT) -> Any:
    from headgate_client import InvalidWebhook, verify_webhook

    try:
        return await asyncio.to_thread(verify_webhook, body.encode(), headers, secret, now=now)
    except InvalidWebhook as error:
        return str(error)


@pytest.fixture(params=["python", "node"])
def verify(request: pytest.FixtureRequest, node: Node) -> Verify:
    """What each library makes of a request: the body, or why it is not believed."""

    async def in_node(body: str, headers: dict[str, str], secret: str = SECRET, now: float = AT) -> Any:
        told = await node.ask({"verify": [body, headers, secret, {"now": now}]})
        return told["error"]["detail"] if "error" in told else told["result"]

    return in_python if request.param == "python" else in_node


async def test_the_specifications_example_is_believed(verify: Verify) -> None:
    assert await verify(BODY, HEADERS) == {"test": 2432232314}


async def test_names_of_headers_may_be_in_any_case_and_text_in_any_language(verify: Verify) -> None:
    body = '{"text": "Grüße 🌍"}'
    headers = {**HEADERS, "webhook-signature": signature(body)}
    assert await verify(body, {name.title(): value for name, value in headers.items()}) == {"text": "Grüße 🌍"}


async def test_one_of_several_signatures_is_enough_while_a_secret_is_rotated(verify: Verify) -> None:
    both = f"v1a,b3RoZXI= {signature(BODY, OTHER)} {HEADERS['webhook-signature']}"
    headers = {**HEADERS, "webhook-signature": both}
    assert await verify(BODY, headers) == {"test": 2432232314}
    assert await verify(BODY, headers, OTHER) == {"test": 2432232314}


@pytest.mark.parametrize(
    ("body", "headers", "secret", "now", "reason"),
    [
        (BODY + " ", {}, SECRET, AT, "no signature fits"),
        (BODY, {}, OTHER, AT, "no signature fits"),
        (BODY, {"webhook-id": "msg_other"}, SECRET, AT, "no signature fits"),
        (BODY, {"webhook-timestamp": str(AT + 1)}, SECRET, AT, "no signature fits"),
        (BODY, {"webhook-signature": "v2" + HEADERS["webhook-signature"][2:]}, SECRET, AT, "no signature fits"),
        (BODY, {"webhook-signature": "v1,"}, SECRET, AT, "no signature fits"),
        (BODY, {"webhook-signature": ""}, SECRET, AT, "no signature fits"),
        (BODY, {"webhook-timestamp": "1614265330.0"}, SECRET, AT, "is not a time"),
        (BODY, {}, SECRET, AT + 301, "too far from now"),
        (BODY, {}, SECRET, AT - 301, "too far from now"),
        ("no json", {"webhook-signature": signature("no json")}, SECRET, AT, "not JSON"),
    ],
)
async def test_anything_else_is_not(
    verify: Verify, body: str, headers: dict[str, str], secret: str, now: float, reason: str
) -> None:
    assert reason in await verify(body, {**HEADERS, **headers}, secret, now)


@pytest.mark.parametrize("missing", list(HEADERS))
async def test_a_request_without_its_headers_is_no_webhook(verify: Verify, missing: str) -> None:
    headers = {name: value for name, value in HEADERS.items() if name != missing}
    assert await verify(BODY, headers) == f"the header {missing} is missing"


async def test_five_minutes_either_way_are_tolerated(verify: Verify) -> None:
    for now in (AT - 299, AT + 299):
        assert await verify(BODY, HEADERS, now=now) == {"test": 2432232314}


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!"])
def test_a_secret_that_is_none_is_the_programs_mistake(secret: str) -> None:
    from headgate_client import InvalidWebhook, verify_webhook

    with pytest.raises(ValueError, match="the secret is not one") as mistake:
        verify_webhook(BODY, HEADERS, secret, now=AT)
    assert not isinstance(mistake.value, InvalidWebhook)
