"""Five products' ways of calling a flow: a parse of their bodies, a render of their answers.

All of them accept runs through `services.gateway.acceptance`, so idempotency, sessions, tweaks and limits hold in each.
A dialect is one file and one line here; beside Langflow's lies what its real server says differently.
"""

import msgspec

from libs.edge.routes import Route
from services.gateway.dialects import aicuflow, evaligo, flowai, fluxprompt, langflow

ROUTES: tuple[Route, ...] = (
    *aicuflow.ROUTES,
    *evaligo.ROUTES,
    *langflow.ROUTES,
    *flowai.ROUTES,
    *fluxprompt.ROUTES,
)


def _slashed(route: Route) -> Route:
    path = route.path.removesuffix("/") if route.path.endswith("/") else f"{route.path}/"
    return msgspec.structs.replace(route, path=path)


SLASHED: tuple[Route, ...] = tuple(map(_slashed, ROUTES))
"""The same with a slash at the end more or less: served, for a redirect would lose a POST's body."""
