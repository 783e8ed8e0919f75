"""The management and run API, one file a subject. `ROUTES` is all of it: the OpenAPI document is made from it."""

from libs.edge.routes import Route
from libs.edge.run_events import events_route
from services.gateway import dialects
from services.gateway.api import (
    audit,
    batches,
    collections,
    deliveries,
    deployments,
    examples,
    files,
    flows,
    hooks,
    keys,
    node_types,
    operations,
    replays,
    runs,
    secrets,
    sessions,
    usage,
    versions,
    webhooks,
)

ROUTES: tuple[Route, ...] = (
    *runs.ROUTES,  # first: routes are searched in this order, and this is what is called most
    *hooks.ROUTES,
    *flows.ROUTES,
    *versions.ROUTES,
    *deployments.ROUTES,
    *examples.ROUTES,
    *replays.ROUTES,
    *batches.ROUTES,
    events_route(),
    *sessions.ROUTES,
    *files.ROUTES,
    *collections.ROUTES,
    *secrets.ROUTES,
    *keys.ROUTES,
    *webhooks.ROUTES,
    *deliveries.ROUTES,
    *usage.ROUTES,
    *audit.ROUTES,
    *node_types.ROUTES,
    *operations.ROUTES,
    *dialects.ROUTES,
)
