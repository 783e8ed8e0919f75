"""The OpenAPI 3.1 document, made from the routes and their types, so that it cannot say what the code does not do."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from libs.edge.problems import STATUS, ProblemBody
from libs.edge.routes import Route

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"{(\w+)}")
_ALWAYS = (400, 401, 403, 404, 405, 503)

_ERRORS = {
    400: "The input does not fit (`errors` names each place), or this is no HTTP request that can be read.",
    401: "No key, or one that is unknown, expired or revoked.",
    403: "The key does not have the right.",
    404: "There is nothing at this address, or it is not yours.",
    405: "The path exists, but takes another method.",
    409: "Something else is in the way.",
    413: "The body is too large.",
    422: "The Idempotency-Key was used with another body.",
    429: "A limit is reached; `Retry-After` says when to come back.",
    500: "The run failed, for the reason given.",
    503: "Not now; `Retry-After` says when to come back.",
}


def openapi(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document. Every schema in it is that of a type that is decoded or encoded."""
    types = [t for route in routes for t in (route.body, route.answer, route.error) if t is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = {id(t): schema for t, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headgate",
            "version": version,
            "description": "Deploy flows and call them. Errors are RFC 9457 problems with a stable `code`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"x_api_key": []}, {"api_key": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer sk-…`"},
                "x_api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "api_key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


def _operation(route: Route, schemas: dict[int, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "tags": [route.tag],
        "responses": {str(status): _success(route, status, schemas) for status in (route.status, *route.also)},
    }
    parameters = [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        content = {"application/json": {"schema": schemas[id(route.body)]}}
        operation["requestBody"] = {"required": False, "content": content}
    if route.file_part is not None:
        properties = {route.file_part: {"type": "string", "contentMediaType": "application/octet-stream"}}
        schema = {"type": "object", "properties": properties, "required": [route.file_part]}
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    for status in _error_statuses(route):
        # A wrong method is answered before any route is chosen, so never in a dialect's words.
        error = ProblemBody if status == 405 else route.error
        kind = "application/problem+json" if error is ProblemBody else "application/json"
        content = {kind: {"schema": schemas[id(error)]}}
        operation["responses"][str(status)] = {"description": _ERRORS[status], "content": content}
    return operation


def _success(route: Route, status: int, schemas: dict[int, Any]) -> dict[str, Any]:
    described = {"description": route.also.get(status, "Done.")}
    if route.answer is None or status == 204:
        return described
    schema = schemas[id(route.answer)]
    content = {
        kind: {"schema": schema if kind.endswith("json") else {"type": "string"}} for kind in route.content_types
    }
    return {**described, "content": content}


def _error_statuses(route: Route) -> Iterable[int]:
    statuses = {*_ALWAYS, *((413,) if route.body or route.file_part else ())}
    if route.method != "GET":
        statuses |= {409, *((422, 429) if "Idempotency-Key" in route.headers else ())}
    known = statuses.intersection({*STATUS.values(), 405})
    # To a dialect, a run that failed is an error of ours.
    return sorted(known | {500} if route.error is not ProblemBody else known)


def _path_parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(route: Route) -> Iterable[dict[str, Any]]:
    if route.query is None:
        return
    _, components = msgspec.json.schema_components([route.query], ref_template=_REF)
    described = components[route.query.__name__]
    required = set(described.get("required", ()))
    for name, schema in described["properties"].items():
        yield {"name": name, "in": "query", "required": name in required, "schema": schema}


def _header_parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name, description in route.headers.items():
        schema = {"type": "string"}
        yield {"name": name, "in": "header", "required": False, "description": description, "schema": schema}
