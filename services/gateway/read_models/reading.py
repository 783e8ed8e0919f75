"""What a reading of the log is: a file with one of these, and a line in `services/gateway/read_models/__init__.py`."""

from collections.abc import Sequence
from typing import Protocol

from libs.events.pull import Delivery
from libs.runtime.postgres import Connection


class Reading(Protocol):
    """What is made of messages. It makes the same of them whenever it reads them, so its tables can be made anew."""

    name: str
    """Under which its places are kept. A promise: under another name everything is read again."""

    tables: tuple[str, ...]
    """What it fills; `schema/` makes them."""

    def streams(self, shards: int) -> dict[str, str]:
        """The streams that it reads, each with the subjects of it."""

    async def write(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """Write what the messages of one stream say, in order, within a transaction."""
