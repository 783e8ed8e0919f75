"""The service's own documents: complete, valid, and loading nothing from elsewhere."""

import json
from html.parser import HTMLParser
from urllib.parse import urlsplit

import aiohttp
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from libs.edge.problems import STATUS
from services.gateway.api import ROUTES
from tests.api.client import Caller
from tests.api.contract import CODES, Contract
from tests.stack import Stack

RUN_CODES = {"node_failed", "node_timeout", "run_timeout"}


class Loads(HTMLParser):
    """What a page has the browser fetch, and the ids of its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.ids: set[str] = set()
        self.inline = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {given["id"] or ""} if "id" in given else set()
        source = given.get("src") or (given.get("href") if tag == "link" else None)
        self.urls += [source] if source else []
        self.inline += tag == "script" and not source
        self.inline += any(name.startswith("on") for name in given)


def test_the_openapi_document_is_valid_3_1(contract: Contract) -> None:
    assert contract.document["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(contract.document).iter_errors()) == []


def test_every_call_has_a_name_of_its_own_words_and_a_described_key(contract: Contract) -> None:
    operations = [item[method] for item in contract.document["paths"].values() for method in item]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names) == len(ROUTES)
    assert all(operation["summary"] and operation["description"] for operation in operations)
    assert set(contract.document["components"]["securitySchemes"]) == {"bearer", "x_api_key", "api_key"}
    problem = contract.document["components"]["schemas"]["ProblemBody"]
    assert set(problem["properties"]["code"]["enum"]) == CODES


def test_every_body_that_is_taken_is_described(contract: Contract) -> None:
    for path, item in contract.document["paths"].items():
        for method, operation in item.items():
            takes = "requestBody" in operation
            assert takes <= (method != "get"), path
            assert takes == ("413" in operation["responses"]), path


async def test_node_types_show_schemas_that_are_schemas(root: Caller) -> None:
    found = (await root.get("/v1/node-types"))["data"]
    names = {each["type"] for each in found}
    assert {"api_input", "template", "transform", "condition", "prompt", "http_request", "api_output"} <= names
    assert '$ref": "http' not in json.dumps(found)


@pytest.mark.parametrize("page", ["/", "/docs", "/docs/errors"])
async def test_a_page_loads_from_here_alone(stack: Stack, page: str) -> None:
    async with aiohttp.ClientSession(stack.url) as session:
        async with session.get(page) as answer:
            assert answer.status == 200
            assert answer.headers["X-Request-Id"]
            policy = answer.headers["Content-Security-Policy"]
            loads = Loads()
            loads.feed(await answer.text())
        sources = {source for rule in policy.split(";") for source in rule.split()[1:]}
        assert sources <= {"'none'", "'self'", "'unsafe-inline'", "data:"}
        assert "default-src 'none'" in policy
        assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
        assert loads.inline == 0
        assert loads.urls
        for url in loads.urls:
            assert not urlsplit(url).netloc
            async with session.get(url) as asset:
                assert asset.status == 200
                text = await asset.text()
            assert "sourceMappingURL=http" not in text
            if url.endswith(".css"):
                assert "url(http" not in text
                assert "@import" not in text


async def test_the_page_of_errors_has_every_code(stack: Stack) -> None:
    async with aiohttp.ClientSession(stack.url) as session, session.get("/docs/errors") as answer:
        loads = Loads()
        text = await answer.text()
        loads.feed(text)
    assert loads.ids >= CODES | RUN_CODES
    assert all(str(status) in text for status in STATUS.values())


async def test_a_problem_s_type_leads_to_its_explanation(root: Caller) -> None:
    problem = await root.get("/v1/flows/nobody", expect=404)
    page, _, code = problem["type"].partition("#")
    loads = Loads()
    async with root.session.get(root.urls[0] + page) as answer:
        loads.feed(await answer.text())
    assert code in loads.ids
