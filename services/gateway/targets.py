"""Addresses that callers want to be told at: what they may look like, and who may be one."""

from typing import Annotated

import msgspec

from libs.edge.problems import Detail, Problem
from libs.egress import EgressRefused, check_url
from services.gateway.state import Gateway

CallbackUrl = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=4096, description="Gets the run object by POST when the run is over, signed."
    ),
]
WebhookUrl = Annotated[str, msgspec.Meta(min_length=1, max_length=4096, description="An http or https address.")]


def check_target(app: Gateway, url: str, pointer: str) -> None:
    """Problem `egress_refused` for an address that Headgate does not call, whatever it resolves to later."""
    try:
        check_url(url, app.policy)
    except EgressRefused as refused:
        raise Problem(
            "egress_refused", f"{refused.message}.", [Detail(pointer=pointer, detail=refused.message)]
        ) from None
