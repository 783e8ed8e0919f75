"""From what people type, a slug or an id, to what the API's paths take."""

from cli.api import Api
from cli.failures import CommandError


async def flow_id(api: Api, slug_or_id: str) -> str:
    """The id of a flow. Raises `CommandError` when no flow has that slug."""
    found = await find_flow(api, slug_or_id)
    if found is None:
        raise CommandError(f"there is no flow {slug_or_id!r}", "headgate flows list shows them.")
    return found


async def find_flow(api: Api, slug_or_id: str) -> str | None:
    """The id of a flow, None when no flow has that slug; an id is taken as it is."""
    if slug_or_id.startswith("flow_"):
        return slug_or_id
    async for flow in api.pages("/v1/flows"):
        if flow["slug"] == slug_or_id:
            return str(flow["id"])
    return None
