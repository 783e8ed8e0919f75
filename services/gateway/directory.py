"""Flows, deployments and webhooks, as this gateway knows them: in memory, kept up with the log, asked at every request.

Answers nothing about another workspace: every look-up begins at the caller's shelf.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from libs.events.appends import Conflict
from libs.events.auth_calls import Principal
from libs.events.broker import Broker, Unavailable
from libs.events.managed import Change, Deployment, FlowHead, Limits, Webhook, Workspace, recall, record, subject_of
from libs.events.registry import Registry
from libs.events.subjects import managed_subject
from services.gateway.admission.ledger import WORKSPACE

_TRIES = 100
"""Each one that fails means that another change went through."""

Thing = TypeVar("Thing", FlowHead, Deployment, Webhook)


class Shelf(msgspec.Struct):
    """What one workspace has. A deployment whose flow is gone may still be on it, and is not shown."""

    limits: Limits = Limits()
    flows: dict[str, FlowHead] = {}
    slugs: dict[str, str] = {}
    deployments: dict[str, Deployment] = {}
    of_flow: dict[str, dict[str, Deployment]] = {}
    webhooks: dict[str, Webhook] = {}

    def deployment(self, deployment_id: str) -> Deployment | None:
        """A deployment whose flow is there."""
        found = self.deployments.get(deployment_id)
        return found if found is not None and found.flow_id in self.flows else None

    def put_flow(self, flow: FlowHead) -> None:
        """Take a flow's new state."""
        old = self.flows.pop(flow.id, None)
        if old is not None and self.slugs.get(old.slug) == flow.id:
            del self.slugs[old.slug]
        if not flow.deleted:
            self.flows[flow.id] = flow
            self.slugs[flow.slug] = flow.id

    def put_deployment(self, deployment: Deployment) -> None:
        """Take a deployment's new state."""
        of_flow = self.of_flow.setdefault(deployment.flow_id, {})
        self.deployments.pop(deployment.id, None)
        of_flow.pop(deployment.id, None)
        if not deployment.deleted:
            self.deployments[deployment.id] = deployment
            of_flow[deployment.id] = deployment


class Directory:
    """Look-ups by id, slug and flow. `registry.tail` has to run for it to live."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._shelves: dict[str, Shelf] = {}
        self._owners: dict[str, str] = {}
        self.registry = Registry(broker, ["flow", "deployment", "workspace", "webhook"], self._on_change)

    def flow(self, workspace: str, id_or_slug: str) -> FlowHead | None:
        """A flow by id or slug."""
        shelf = self._shelf(workspace)
        return shelf.flows.get(shelf.slugs.get(id_or_slug, id_or_slug))

    def flows(self, workspace: str) -> list[FlowHead]:
        """Every flow of a workspace, newest first."""
        return _newest_first(self._shelf(workspace).flows.values())

    def deployment(self, workspace: str, id_or_flow: str) -> Deployment | None:
        """A deployment by id, or the production deployment of the flow with that id or slug."""
        found = self._shelf(workspace).deployment(id_or_flow)
        if found is not None:
            return found
        flow = self.flow(workspace, id_or_flow)
        return None if flow is None else self._production(workspace, flow.id)

    def deployments(self, workspace: str) -> list[Deployment]:
        """Every deployment of a workspace, newest first."""
        shelf = self._shelf(workspace)
        return _newest_first(d for d in shelf.deployments.values() if d.flow_id in shelf.flows)

    def deployments_of(self, workspace: str, flow_id: str) -> list[Deployment]:
        """The deployments of one flow, newest first."""
        return _newest_first(self._shelf(workspace).of_flow.get(flow_id, {}).values())

    def webhook(self, workspace: str, webhook_id: str) -> Webhook | None:
        """A webhook by id."""
        return self._shelf(workspace).webhooks.get(webhook_id)

    def webhooks(self, workspace: str, deployment_id: str | None = None) -> list[Webhook]:
        """Every webhook of a workspace, or those of one deployment, newest first."""
        found = self._shelf(workspace).webhooks.values()
        return _newest_first(w for w in found if deployment_id is None or w.deployment_id == deployment_id)

    def public_deployment(self, id_or_flow: str) -> Deployment | None:
        """A public deployment of any workspace, by its id or its flow's; slugs are not unique over workspaces."""
        found = self._anybodys(id_or_flow)
        return found if found is not None and found.public else None

    def verifying_deployment(self, id_or_flow: str) -> Deployment | None:
        """A deployment of any workspace that knows senders by their signatures, by its id or its flow's."""
        found = self._anybodys(id_or_flow)
        return found if found is not None and found.incoming.verify != "none" else None

    def workspace_limits(self, workspace: str) -> Limits:
        """The limits of a workspace, as its last change has them."""
        return self._shelf(workspace).limits

    def limits_of(self, deployment: Deployment, caller: Principal | None = None) -> dict[str, Limits]:
        """The limits that a run of a deployment is admitted by, account by account; empty: none.

        A caller's key brings the workspace's limits along, fresher than they are here; who calls without one does not.
        """
        own = {deployment.id: deployment.limits} if _limited(deployment.limits) else {}
        known = caller is not None and caller.permissions
        workspace = caller.limits if known and caller is not None else self._shelf(deployment.workspace).limits
        return {**account_of(workspace), **own}

    async def limits_on_log(self, workspace: str, deployment_id: str) -> dict[str, Limits]:
        """The same, asked of the log, for a deployment that is gone or not known here yet."""
        limits: dict[str, Limits] = {}
        things = ((WORKSPACE, "workspace", workspace), (deployment_id, "deployment", deployment_id))
        for account, entity, thing in things:
            found = await recall(self._broker, managed_subject(workspace, entity, thing))
            state = found.change.state if found is not None else None
            if isinstance(state, Workspace | Deployment) and _limited(state.limits):
                limits[account] = state.limits
        return limits

    async def write(self, kind: str, state: FlowHead | Deployment | Webhook, by: str, address: str, after: int) -> None:
        """Record a new state and know it at once. Conflict when somebody else was faster."""
        subject = subject_of(state.workspace, state)
        change = Change(type=kind, at=state.updated_at, by=by, address=address, state=state)
        sequence = await record(self._broker, subject, change, after=after)
        self.registry.apply(subject, sequence, change)

    async def latest(self, state: Thing) -> tuple[Thing, int]:
        """The state in the log now, known here from then on, and the sequence a change of it must follow."""
        subject = subject_of(state.workspace, state)
        found = await recall(self._broker, subject)
        if found is None or not isinstance(found.change.state, type(state)):
            raise Unavailable("the log does not have what the directory has")
        self.registry.apply(subject, found.sequence, found.change)
        return found.change.state, found.sequence

    async def change(
        self, kind: str, thing: Thing, by: str, address: str, decide: Callable[[Thing], Mapping[str, Any]]
    ) -> Thing | None:
        """Record changes of a thing in whatever state it is by now: its new state, None where it is deleted.

        `decide` says which, by that state: of two changes at once neither is lost.
        """
        for _ in range(_TRIES):
            latest, sequence = await self.latest(thing)
            if latest.deleted:
                return None
            newer = msgspec.structs.replace(latest, updated_at=datetime.now(UTC), **decide(latest))
            try:
                await self.write(kind, newer, by, address, after=sequence)
            except Conflict:
                continue
            return newer
        raise Unavailable("others change the same all the time")

    async def delete(self, kind: str, thing: Thing, by: str, address: str) -> Thing | None:
        """Record that a thing is gone; None where it was already."""
        changes: dict[str, Any] = {"status": "inactive"} if isinstance(thing, Deployment) else {}
        return await self.change(kind, thing, by, address, lambda _: {**changes, "deleted": True})

    def _anybodys(self, id_or_flow: str) -> Deployment | None:
        workspace = self._owners.get(id_or_flow)
        return None if workspace is None else self.deployment(workspace, id_or_flow)

    def _production(self, workspace: str, flow_id: str) -> Deployment | None:
        """The newest production deployment that is active, else the newest."""
        mine = [d for d in self.deployments_of(workspace, flow_id) if d.type == "production"]
        return next((d for d in mine if d.status == "active"), mine[0] if mine else None)

    def _shelf(self, workspace: str) -> Shelf:
        return self._shelves.get(workspace) or Shelf()

    def _on_change(self, workspace: str, _: str, change: Change) -> None:
        shelf = self._shelves.setdefault(workspace, Shelf())
        match change.state:
            case FlowHead() as flow:
                shelf.put_flow(flow)
                self._owners[flow.id] = workspace
            case Deployment() as deployment:
                shelf.put_deployment(deployment)
                self._owners[deployment.id] = workspace
            case Webhook() as webhook:
                shelf.webhooks.pop(webhook.id, None)
                if not webhook.deleted:
                    shelf.webhooks[webhook.id] = webhook
            case Workspace() as owner:
                shelf.limits = owner.limits
            case _:
                pass


def account_of(limits: Limits) -> dict[str, Limits]:
    """A workspace's limits under its account; empty: it has none."""
    return {WORKSPACE: limits} if _limited(limits) else {}


def _limited(limits: Limits) -> bool:
    return any(value is not None for value in msgspec.structs.astuple(limits))


def _newest_first(things: Iterable[Thing]) -> list[Thing]:
    return sorted(things, key=lambda thing: (thing.created_at, thing.id), reverse=True)
