"""The OpenAPI 3.1 document of one deployment: every way of calling it, at its own address, with its own input's schema.

It is the general document cut down to these calls, so it cannot differ from it in anything else.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from libs.edge.routes import Route
from services.gateway.endpoints import ENDPOINTS
from services.gateway.openapi import openapi

_INPUT = "DeploymentInput"
_INPUT_REF = {"$ref": f"#/components/schemas/{_INPUT}"}
_PLACES: dict[str, str | None] = {
    "native": "input",
    "aicuflow": "input_data",
    "flowai": "input",
    "evaligo": None,
    "langflow_webhook": None,
    "hook": None,
}
"""The member of a dialect's body that is the input; None: the whole body is."""


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """What the document says of the deployment."""

    id: str
    name: str
    description: str
    version: int
    public: bool
    server: str
    """The address that the paths are below."""
    input_schema: dict[str, Any]


def openapi_of_deployment(routes: Iterable[Route], deployed: Deployed) -> dict[str, Any]:
    """The document. `routes` are all that there are; those that call a deployment are taken."""
    by_shape = {_shape(route.path): route for route in routes}
    calls = {name: by_shape[_shape(path)] for name, path in ENDPOINTS.items()}
    general = openapi(list(calls.values()), f"{deployed.version}")
    document = {
        **general,
        "info": {**general["info"], "title": deployed.name, "description": deployed.description},
        "servers": [{"url": deployed.server}],
        "paths": {},
    }
    del document["info"]["license"]  # ours, not that of somebody's flow
    schemas = document["components"]["schemas"]
    schemas[_INPUT] = _input_schema(deployed.input_schema)
    for name, route in calls.items():
        path = ENDPOINTS[name].partition("?")[0].replace("{id}", deployed.id)
        methods = general["paths"][route.path]
        operation = methods[route.method.lower()]
        _place_input(operation, schemas, name)
        _fix_id(operation, deployed.id)
        if deployed.public and route.anonymous:
            operation["security"] = [{}, *general["security"]]
        document["paths"][path] = methods
    return document


def _input_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as callers meet it: a field with a default may be left out."""
    properties = schema["properties"]
    return {**schema, "required": [name for name in schema["required"] if "default" not in properties[name]]}


def _place_input(operation: dict[str, Any], schemas: dict[str, Any], name: str) -> None:
    if name == "batch":
        inputs = _properties(operation, schemas)["inputs"]
        inputs["items"] = _INPUT_REF
        return
    if name not in _PLACES:
        return
    member = _PLACES[name]
    if member is None:
        operation["requestBody"]["content"]["application/json"]["schema"] = _INPUT_REF
    else:
        _properties(operation, schemas)[member] = _INPUT_REF


def _properties(operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    reference: str = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    properties: dict[str, Any] = schemas[reference.rpartition("/")[2]]["properties"]
    return properties


def _fix_id(operation: dict[str, Any], deployment_id: str) -> None:
    """Take out the parameter that the path now holds; one in the query can only be this deployment."""
    kept = []
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and parameter["name"] not in ("run_id", "job_id"):
            continue
        if parameter["in"] == "query" and parameter["name"] == "flowId":
            parameter["schema"] = {"const": deployment_id}
        kept.append(parameter)
    operation["parameters"] = kept


def _shape(path: str) -> str:
    """A path without its parameters' names and without its query."""
    return re.sub(r"{\w+}", "{}", path.partition("?")[0])
