"""Who wants to be told: webhooks and deployments, in memory, kept up with the management stream."""

import asyncio
from datetime import datetime

import msgspec

from libs.events.broker import Broker
from libs.events.managed import Change, Deployment, Webhook
from libs.events.registry import Registry

STEPS = frozenset({"flow_started", "component_completed"})
"""Events of webhooks that happen before a run's end."""


class Shelf(msgspec.Struct):
    """What one workspace has."""

    webhooks: dict[str, Webhook] = {}
    deployments: dict[str, Deployment] = {}

    @property
    def empty(self) -> bool:
        """Whether nobody here wants anything."""
        return not self.webhooks and not self.deployments


class Subscribers:
    """Look-ups by workspace. `registry.tail` has to run for it to live."""

    def __init__(self, broker: Broker) -> None:
        self._shelves: dict[str, Shelf] = {}
        self._steps: dict[str, datetime] = {}
        self._moved = asyncio.Event()
        self.registry = Registry(broker, ["webhook", "deployment"], self._on_change)

    def shelf(self, workspace: str) -> Shelf | None:
        """What the workspace has; None: nothing that is to be told anything."""
        found = self._shelves.get(workspace)
        return None if found is None or found.empty else found

    def webhook(self, workspace: str, webhook_id: str) -> Webhook | None:
        """A webhook that was not deleted."""
        found = self._shelves.get(workspace)
        return None if found is None else found.webhooks.get(webhook_id)

    @property
    def steps_since(self) -> datetime | None:
        """Since when somebody wants to hear of more than ends; None: nobody does."""
        return min(self._steps.values(), default=None)

    async def until_steps(self, *, wanted: bool) -> None:
        """Return when somebody wants to hear of more than ends, or when nobody does."""
        while (self.steps_since is not None) is not wanted:
            self._moved.clear()
            await self._moved.wait()

    def _on_change(self, workspace: str, thing: str, change: Change) -> None:
        shelf = self._shelves.setdefault(workspace, Shelf())
        match change.state:
            case Webhook() as webhook:
                shelf.webhooks.pop(thing, None)
                self._steps.pop(thing, None)
                if not webhook.deleted:
                    shelf.webhooks[thing] = webhook
                    if webhook.active and STEPS.intersection(webhook.events):
                        self._steps[thing] = webhook.created_at
                self._moved.set()
            case Deployment() as deployment:
                shelf.deployments.pop(thing, None)
                if not deployment.deleted and (deployment.callback_url or deployment.email):
                    shelf.deployments[thing] = deployment
            case _:
                pass
