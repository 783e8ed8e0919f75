"""The management and run API, one file a subject. `ROUTES` is all of it: the OpenAPI document is made from it."""

from libs.edge.routes import Route
from libs.edge.run_events import events_route
from services.gateway.api import deployments, flows, keys, node_types, runs, versions

ROUTES: tuple[Route, ...] = (
    *flows.ROUTES,
    *versions.ROUTES,
    *deployments.ROUTES,
    *runs.ROUTES,
    events_route(),
    *keys.ROUTES,
    *node_types.ROUTES,
)
