"""Five products' ways of calling a flow, one file each: a parse of their bodies, a render of their answers.

All of them accept runs through `services.gateway.acceptance`, so idempotency, sessions, tweaks and limits hold in each.
A dialect is one file and one line here.
"""

from libs.edge.routes import Route
from services.gateway.dialects import aicuflow, evaligo, flowai, fluxprompt, langflow

ROUTES: tuple[Route, ...] = (
    *aicuflow.ROUTES,
    *evaligo.ROUTES,
    *langflow.ROUTES,
    *flowai.ROUTES,
    *fluxprompt.ROUTES,
)
