"""A registry: the present state of everything of some kinds, in memory, kept up with the management stream.

It makes a gateway answer without asking anybody, also while PostgreSQL or the auth service is away. What it costs
is about a kilobyte for each thing (a flow's documents are not held). Readers hear of each change after it is applied.
"""

from collections.abc import Callable, Sequence

from libs.events.broker import Broker
from libs.events.managed import Change, decode_change
from libs.events.pull import Delivery
from libs.events.subjects import MANAGEMENT, managed_filter, parse_managed_subject
from libs.events.tail import Tail

OnChange = Callable[[str, str, Change], None]
"""Called with the workspace's and the thing's id, and the change."""


class Registry:
    """Follows `entities` and calls `on_change` for each state, at first for the last one of every thing."""

    def __init__(self, broker: Broker, entities: Sequence[str], on_change: OnChange) -> None:
        self._on_change = on_change
        self._sequences: dict[str, int] = {}
        self.tail = Tail(broker, MANAGEMENT, [managed_filter(e) for e in entities], self._on_batch, latest_only=True)

    def apply(self, subject: str, sequence: int, change: Change) -> None:
        """Take a change; a writer calls it for its own, so that it reads what it wrote."""
        if self._sequences.get(subject, 0) >= sequence:
            return
        self._sequences[subject] = sequence
        workspace, _, thing = parse_managed_subject(subject)
        self._on_change(workspace, thing, change)

    async def _on_batch(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.apply(delivery.subject, delivery.sequence, decode_change(delivery.payload))
