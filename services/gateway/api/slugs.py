"""Who has which slug. The log decides, by compare-and-set on the slug's own subject: two gateways cannot both have it.

A claim is written before the flow that it is for, and released after the flow has left it. A process may die between
the two, so a claim counts only while its flow bears the slug, or for the first minute.
"""

from datetime import UTC, datetime, timedelta

from libs.edge.problems import Detail, Problem
from libs.edge.routes import Call
from libs.events.appends import Conflict
from libs.events.managed import Change, FlowHead, Recorded, SlugClaim, recall, record, slug_subject
from libs.events.subjects import managed_subject
from services.gateway.state import Gateway

_MAKING = timedelta(minutes=1)
"""Longer than any request takes from a claim to the flow that it is for."""


async def claim(call: Call[Gateway], slug: str, flow_id: str) -> bool:
    """Make the slug this flow's; False when it is another's."""
    subject = slug_subject(call.caller.workspace, slug)
    last = await recall(call.app.broker, subject)
    if last is not None and await _holds(call, slug, last.change, flow_id):
        return False
    try:
        await _write(call, subject, flow_id, last.sequence if last else 0)
    except Conflict:
        return False
    return True


async def release(call: Call[Gateway], slug: str, flow_id: str) -> None:
    """Give up the slug that the flow has left; not one that it, or another flow, has claimed since."""
    subject = slug_subject(call.caller.workspace, slug)
    last, flow = await recall(call.app.broker, subject), await _flow(call, flow_id)
    if last is None or last.change.state != SlugClaim(flow_id=flow_id):
        return
    if flow is None or _bears(flow, slug) or last.sequence > flow.sequence:
        return
    try:
        await _write(call, subject, None, last.sequence)
    except Conflict:
        return  # somebody else has it by now


def taken(slug: str, *, given: bool) -> Problem:
    """The answer where another flow has the slug; `given`: by the caller, not made from the flow's name."""
    what = "slug" if given else "name, and so the slug made from it,"
    detail = f"the {what} `{slug}` is another flow's; choose another slug or save a new version of that flow"
    return Problem("conflict", f"/slug: {detail}.", [Detail(pointer="/slug", detail=detail)])


async def _holds(call: Call[Gateway], slug: str, change: Change, flow_id: str) -> bool:
    """Whether a claim keeps the slug from the flow `flow_id`."""
    owner = change.state.flow_id if isinstance(change.state, SlugClaim) else None
    if owner is None or owner == flow_id:
        return False
    if datetime.now(UTC) - change.at < _MAKING:
        return True
    flow = await _flow(call, owner)
    return flow is not None and _bears(flow, slug)


async def _flow(call: Call[Gateway], flow_id: str) -> Recorded | None:
    return await recall(call.app.broker, managed_subject(call.caller.workspace, "flow", flow_id))


def _bears(flow: Recorded, slug: str) -> bool:
    head = flow.change.state
    return isinstance(head, FlowHead) and not head.deleted and head.slug == slug


async def _write(call: Call[Gateway], subject: str, flow_id: str | None, after: int) -> None:
    kind = "slug.claimed" if flow_id else "slug.released"
    state = SlugClaim(flow_id=flow_id)
    change = Change(type=kind, at=datetime.now(UTC), by=call.caller.key_id, address=call.address, state=state)
    await record(call.app.broker, subject, change, after=after)
