"""Managed things to record: flows with a number that tells their states apart."""

from libs.events.managed import Change, FlowHead
from tests.events.runs import AT


def flow_changed(workspace: str, flow_id: str, version: int) -> Change:
    """The flow has a new version."""
    head = FlowHead(
        id=flow_id,
        workspace=workspace,
        slug=flow_id,
        name="Greeter",
        description="",
        version=version,
        created_at=AT,
        updated_at=AT,
    )
    return Change(type="flow.saved", at=AT, by="key_1", state=head)
