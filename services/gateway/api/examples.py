"""What those who call a deployment are given: code to paste, and the OpenAPI document of its own call."""

from typing import Any

from libs.edge.routes import Call, Reply, Route
from libs.edge.run_events import events_route
from libs.events.managed import Deployment, Key, recall
from libs.events.subjects import managed_subject
from libs.flows import input_schema
from services.gateway import dialects
from services.gateway.acceptance import deployed_flow
from services.gateway.api import batches, hooks, runs
from services.gateway.api.deployments import base_url, find
from services.gateway.deployment_openapi import Deployed, openapi_of_deployment
from services.gateway.endpoints import endpoints_of
from services.gateway.snippets import Snippets, snippets_of
from services.gateway.snippets.calls import Sample, input_of
from services.gateway.state import Gateway

_NO_KEY = "sk-YOUR_API_KEY"


async def get_examples(call: Call[Gateway]) -> Reply:
    """Code that calls the deployment, filled from the test values of its fields; the key in it is masked."""
    deployment = find(call)
    flow = await deployed_flow(call.app, deployment)
    sample = Sample(
        name=deployment.name,
        mode=deployment.mode,
        endpoints=endpoints_of(base_url(call), deployment.id),
        key=await _masked_key(call, deployment),
        flow=flow,
        input=input_of(flow),
    )
    return Reply(body=snippets_of(sample))


async def get_deployment_openapi(call: Call[Gateway]) -> Reply:
    """The OpenAPI 3.1 document of this deployment: every way of calling it, with the schema of its own input."""
    deployment = find(call)
    flow = await deployed_flow(call.app, deployment)
    deployed = Deployed(
        id=deployment.id,
        name=deployment.name,
        description=flow.flow.description,
        version=deployment.version,
        public=deployment.public,
        server=base_url(call),
        input_schema=input_schema(flow.flow),
    )
    routes = (*runs.ROUTES, *batches.ROUTES, *hooks.ROUTES, events_route(), *dialects.ROUTES)
    return Reply(body=openapi_of_deployment(routes, deployed))


async def _masked_key(call: Call[Gateway], deployment: Deployment) -> str:
    """The deployment's key as lists show it, or a word for one where it is gone."""
    if deployment.key_id is None:
        return _NO_KEY
    found = await recall(call.app.broker, managed_subject(deployment.workspace, "key", deployment.key_id))
    key = None if found is None else found.change.state
    return key.masked if isinstance(key, Key) and not key.deleted else _NO_KEY


ROUTES = (
    Route(
        method="GET",
        path="/v1/deployments/{deployment_id}/examples",
        handler=get_examples,
        summary="Code that calls the deployment, in every dialect",
        tag="deployments",
        permission="read",
        answer=Snippets,
    ),
    Route(
        method="GET",
        path="/v1/deployments/{deployment_id}/openapi.json",
        handler=get_deployment_openapi,
        summary="The OpenAPI document of the deployment",
        tag="deployments",
        permission="read",
        answer=dict[str, Any],
    ),
)
