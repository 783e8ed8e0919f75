"""Each node as the body of a Python function of `scope`: one expression, its output."""

from collections.abc import Mapping
from typing import assert_never

import msgspec

from libs.flows.compile import CompiledFlow
from libs.flows.export.code import Call, Constant, Expression, Members, Name
from libs.flows.export.lookups import text_code, url_code, value_code
from libs.flows.lookups import Reference
from libs.flows.nodes import AnyNode
from libs.flows.nodes.api_input import ApiInput
from libs.flows.nodes.api_output import ApiOutput
from libs.flows.nodes.condition import Condition
from libs.flows.nodes.delay import Delay
from libs.flows.nodes.http_request import HttpRequest
from libs.flows.nodes.prompt import Prompt
from libs.flows.nodes.retriever import Retriever
from libs.flows.nodes.template import Template
from libs.flows.nodes.transform import Transform
from libs.flows.nodes.web_scraper import WebScraper
from libs.runtime.failures import Terminal

ECHO = "echo"
_OPENAI = "openai"
_OPENAI_URL = "https://api.openai.com/v1"
_SCOPE = Name("scope")


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A model provider and the environment variables that say where it is; `default_url` where none need be set."""

    name: str
    base_url: str
    api_key: str
    default_url: str = ""


def provider_of(node: Prompt) -> Provider | None:
    """The provider that a prompt asks; None for the built-in one. The executor reads the same variables."""
    name = node.config.model.partition("/")[0]
    if name == ECHO:
        return None
    if name == _OPENAI:
        return Provider(name=name, base_url="OPENAI_BASE_URL", api_key="OPENAI_API_KEY", default_url=_OPENAI_URL)
    prefix = f"HEADGATE_PROVIDER_{name.upper().replace('-', '_')}"
    return Provider(name=name, base_url=f"{prefix}_BASE_URL", api_key=f"{prefix}_API_KEY")


def output_code(node: AnyNode, flow: CompiledFlow, secrets: Mapping[str, str]) -> Expression:
    """The node's output. `secrets`: environment variable by secret."""
    match node:
        case ApiInput():
            given = Name('scope.run["input"]')
            foreign = tuple(Constant(name) for name in sorted(node.foreign))
            return Call(function="omit", arguments=(given, *foreign)) if foreign else given
        case Template():
            return _template(node, secrets)
        case Transform():
            return Call(function="search", arguments=(_SCOPE, Constant(node.config.expression)))
        case Condition():
            return _condition(node)
        case Prompt():
            return _prompt(node, flow, secrets)
        case HttpRequest():
            return _http_request(node, secrets)
        case WebScraper():
            named = (("selector", Constant(node.config.selector)), ("form", Constant(node.config.format)))
            return Call(function="scrape", arguments=(_SCOPE, url_code(node.config.url, secrets)), named=named)
        case ApiOutput():
            return value_code(node.config.value, secrets)
        case Delay():
            return Call(function="pause", arguments=(_SCOPE, value_code(node.config.seconds, secrets)))
        case Retriever():
            detail = f"node `{node.id}` searches a collection, which a file does not take along"
            raise Terminal("invalid_input", f"this flow cannot be exported as a Python file: {detail}")
        case _:
            assert_never(node)


def _template(node: Template, secrets: Mapping[str, str]) -> Expression:
    if isinstance(node.config.text, str):
        return Members((("text", text_code(node.config.text, secrets)),))
    return value_code(node.config.value, secrets)


def _condition(node: Condition) -> Expression:
    cases = Members(tuple((case.port, Constant(case.when)) for case in node.config.cases))
    return Call(function="choose", arguments=(_SCOPE, cases))


def _prompt(node: Prompt, flow: CompiledFlow, secrets: Mapping[str, str]) -> Expression:
    config, provider = node.config, provider_of(node)
    model = config.model.partition("/")[2]
    said = (Constant(model), text_code(config.system, secrets), text_code(config.prompt, secrets))
    if provider is None:
        return Call(function="ask_echo", arguments=said)
    where = Call(
        function="Provider",
        named=tuple((name, Constant(value)) for name, value in msgspec.structs.asdict(provider).items() if value),
    )
    settings = (("temperature", config.temperature), ("max_tokens", config.max_tokens))
    named = tuple((name, Constant(value)) for name, value in settings if value is not None)
    answer = Call(function="ask_model", arguments=(_SCOPE, where, *said), named=named)
    if not _cost_is_read(node, flow):
        return answer
    return Call(function="priced", arguments=(answer, Constant(provider.name), Constant(model)))


def _http_request(node: HttpRequest, secrets: Mapping[str, str]) -> Expression:
    config = node.config
    named: list[tuple[str, Expression]] = []
    if config.headers:
        headers = tuple((name, text_code(value, secrets)) for name, value in config.headers.items())
        named.append(("headers", Members(headers)))
    if config.query:
        named.append(("query", value_code(config.query, secrets)))
    if config.body is not None:
        named.append(("body", value_code(config.body, secrets)))
    if config.timeout_seconds is not None:
        named.append(("timeout_seconds", Constant(config.timeout_seconds)))
    return Call(
        function="http_request",
        arguments=(_SCOPE, Constant(config.method), url_code(config.url, secrets)),
        named=tuple(named),
    )


def _cost_is_read(node: Prompt, flow: CompiledFlow) -> bool:
    """Whether anything may read what the node cost; looking prices up takes a library with a large table."""
    if not any(isinstance(each, ApiOutput) for each in flow.nodes.values()):
        return True
    references = (reference for each in flow.nodes.values() for _, reference in each.compiled.references)
    return any(_may_read_cost(reference, node.id) for reference in references)


def _may_read_cost(reference: Reference, node_id: str) -> bool:
    """An expression's reference says no more than the node."""
    return reference.root == node_id and reference.name in (None, "cost_usd")
