"""The node types. A new one is one file and one line in `AnyNode`.

The tagged union is the registry: decoding, JSON Schema, validation and the catalogue follow from it.
"""

from typing import Any, TypeAlias, get_args

from libs.flows.nodes.api_input import ApiInput
from libs.flows.nodes.api_output import ApiOutput
from libs.flows.nodes.condition import Condition
from libs.flows.nodes.delay import Delay
from libs.flows.nodes.http_request import HttpRequest
from libs.flows.nodes.node import Node
from libs.flows.nodes.prompt import Prompt
from libs.flows.nodes.retriever import Retriever
from libs.flows.nodes.template import Template
from libs.flows.nodes.transform import Transform
from libs.flows.nodes.web_scraper import WebScraper

AnyNode: TypeAlias = (
    ApiInput
    | Template
    | Transform
    | Condition
    | Prompt
    | HttpRequest
    | WebScraper
    | Retriever
    | Delay
    | ApiOutput
)  # fmt: skip

NODE_TYPES: dict[str, type[Node[Any]]] = {str(node.__struct_config__.tag): node for node in get_args(AnyNode)}
"""Each node type by its name on the wire."""

__all__ = ["NODE_TYPES", "AnyNode"]
