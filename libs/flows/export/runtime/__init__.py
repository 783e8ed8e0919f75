"""What an exported file is made of besides its flow: real modules, from which each file takes what it needs.

`bundle` copies definitions out of here and out of the modules that these import, so the file needs none of ours and
has the engine's meaning where it is the engine's code. They keep to the standard library, but for the libraries that
`bundle` can name. The names here are those that generated code may use.
"""

import re
import sys
from typing import Any

import jsonschema_rs

from libs.flows.export.runtime.command import main
from libs.flows.export.runtime.echo import ask_echo
from libs.flows.export.runtime.expressions import choose, search
from libs.flows.export.runtime.fields import read_input
from libs.flows.export.runtime.files import read_files
from libs.flows.export.runtime.in_order import in_order
from libs.flows.export.runtime.models import Provider, ask_model
from libs.flows.export.runtime.pausing import pause
from libs.flows.export.runtime.prices import priced
from libs.flows.export.runtime.requests import host_part, http_request
from libs.flows.export.runtime.scope import Scope
from libs.flows.export.runtime.scraping import scrape
from libs.flows.export.runtime.secrets import secret
from libs.flows.export.runtime.side_by_side import side_by_side
from libs.flows.export.runtime.values import (
    default,
    length,
    lower,
    omit,
    read,
    text,
    text_of,
    to_json,
    trim,
    upper,
    urlencode,
)
from libs.flows.urls import checked_url
from libs.flows.weight import weighed

__all__ = [
    "Any",
    "Provider",
    "Scope",
    "ask_echo",
    "ask_model",
    "checked_url",
    "choose",
    "default",
    "host_part",
    "http_request",
    "in_order",
    "jsonschema_rs",
    "length",
    "lower",
    "main",
    "omit",
    "pause",
    "priced",
    "re",
    "read",
    "read_files",
    "read_input",
    "scrape",
    "search",
    "secret",
    "side_by_side",
    "sys",
    "text",
    "text_of",
    "to_json",
    "trim",
    "upper",
    "urlencode",
    "weighed",
]
