"""Callbacks: the run object, posted to an address that a run, its deployment or its flow's output named."""

import msgspec
from yarl import URL

from libs.egress import Egress
from libs.events.deliveries import Delivery, ToCallback
from libs.runtime.secrets import signing_secret
from services.notifier.channels import Outcome, Story
from services.notifier.channels.posting import post


class CallbackChannel:
    """Posts the run, signed with its deployment's secret."""

    def __init__(self, egress: Egress, master: bytes, timeout_seconds: float) -> None:
        self._egress = egress
        self._master = master
        self._timeout_seconds = timeout_seconds

    def lane(self, delivery: Delivery) -> str:
        """All addresses of one server, for each workspace by itself."""
        return f"{delivery.workspace} {URL(_url(delivery)).authority}"

    def compose(self, delivery: Delivery, story: Story | None) -> bytes:
        """The run as `GET /v1/runs/{id}` shows it."""
        return msgspec.json.encode({"id": delivery.run_id} if story is None else story.run)

    async def send(self, delivery: Delivery, body: bytes) -> Outcome:
        """One signed POST."""
        secret = signing_secret(self._master, delivery.deployment_id)
        return await post(self._egress, _url(delivery), delivery.id, body, [secret], self._timeout_seconds)


def _url(delivery: Delivery) -> str:
    if not isinstance(delivery.target, ToCallback):
        raise TypeError("this delivery is for another channel")
    return delivery.target.url
