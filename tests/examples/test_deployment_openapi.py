"""The OpenAPI document of a deployment is valid and describes what a caller of it meets."""

from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from libs.edge.run_events import events_route
from libs.flows import input_schema, load
from services.gateway import dialects
from services.gateway.api import ROUTES, batches, hooks, runs
from services.gateway.deployment_openapi import Deployed, openapi_of_deployment
from services.gateway.endpoints import ENDPOINTS
from services.gateway.openapi import openapi
from tests.examples.test_snippets import document

FIELDS: tuple[dict[str, Any], ...] = (
    {"name": "name", "required": True, "max_length": 5, "test_value": "Ada", "description": "Whom"},
    {"name": "count", "type": "integer", "required": True, "default": 3, "minimum": 1},
    {"name": "file", "type": "file", "enum": ["text/*"]},
)


def described(*, public: bool = False, routes: Any = None) -> dict[str, Any]:
    flow = load(document(*FIELDS))
    deployed = Deployed(
        id="dep-1",
        name="Mine",
        description="What it does",
        version=7,
        public=public,
        server="https://gate.example",
        input_schema=input_schema(flow),
    )
    of_calls = (*runs.ROUTES, *batches.ROUTES, *hooks.ROUTES, events_route(), *dialects.ROUTES)
    return openapi_of_deployment(routes or of_calls, deployed)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return described()


def schema_at(found: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of a body, what it refers to included."""
    schema = found["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return {**schema, "components": found["components"]}


def fits(found: dict[str, Any], path: str, body: Any) -> bool:
    return Draft202012Validator(schema_at(found, path)).is_valid(body)


def test_it_is_valid(found: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(found).validate()
    OpenAPIV31SpecValidator(described(public=True)).validate()


def test_it_is_about_this_deployment_alone(found: dict[str, Any]) -> None:
    assert (found["info"]["title"], found["info"]["version"]) == ("Mine", "7")
    assert found["info"]["description"] == "What it does"
    assert found["servers"] == [{"url": "https://gate.example"}]
    assert len(found["paths"]) == len(ENDPOINTS)
    for path, methods in found["paths"].items():
        for operation in methods.values():
            in_path = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
            assert in_path == [name for name in ("run_id", "job_id") if f"{{{name}}}" in path]
    assert any(
        each.get("schema") == {"const": "dep-1"} for each in found["paths"]["/flux/api-v2"]["post"]["parameters"]
    )


@pytest.mark.parametrize(
    ("path", "wrap"),
    [
        ("/v1/deployments/dep-1/runs", lambda given: {"input": given}),
        ("/v1/deployments/dep-1/batch", lambda given: {"inputs": [given]}),
        ("/node/deployment-trigger/dep-1/", lambda given: {"input_data": given}),
        ("/public/v1/flows/execute/dep-1", lambda given: given),
        ("/api/v1/webhook/dep-1", lambda given: given),
        ("/v1/api/workflow/run/dep-1", lambda given: {"input": given}),
    ],
)
def test_bodies_have_the_schema_of_the_flows_input(found: dict[str, Any], path: str, wrap: Any) -> None:
    assert fits(found, path, wrap({"name": "Ada"}))
    assert fits(found, path, wrap({"name": "Ada", "count": 1, "file": {"file_id": "f"}}))
    assert not fits(found, path, wrap({}))
    assert not fits(found, path, wrap({"name": "far too long"}))
    assert not fits(found, path, wrap({"name": "Ada", "count": 0}))


def test_only_what_may_be_called_without_a_key_says_so(found: dict[str, Any]) -> None:
    public = described(public=True)
    run = "/v1/deployments/dep-1/runs"
    assert {} in public["paths"][run]["post"]["security"]
    assert "security" not in found["paths"][run]["post"]
    assert "security" not in public["paths"]["/v1/runs/{run_id}"]["get"]


def test_the_general_document_is_left_as_it_was() -> None:
    before = openapi(ROUTES, "1")
    described()
    assert openapi(ROUTES, "1") == before
    OpenAPIV31SpecValidator(before).validate()
