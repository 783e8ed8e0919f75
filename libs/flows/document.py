"""The flow document: what graph editors write and what is stored, one immutable version after another.

These names are stored for ever. `validation.load` makes a `Flow` of JSON; a `Flow` in hand is a valid one.
"""

import re
import unicodedata
from typing import Annotated

import msgspec
from msgspec import Meta

from libs.flows.nodes import AnyNode

MAX_NODES = 500
MAX_EDGES = 2_000

SLUG_PATTERN = "^[a-z0-9][a-z0-9-]{0,62}$"
_EndId = Annotated[str, Meta(max_length=64)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for a whole run or session."""

    session_ttl_seconds: Annotated[
        int, Meta(ge=1, le=31_536_000, description="how long a session outlives its last run")
    ] = 1800
    timeout_seconds: Annotated[float, Meta(gt=0, le=604_800, description="for a whole run")] = 300.0


class Edge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Leads from one node to another; from a branching node it starts at one of its ports."""

    source: _EndId
    target: _EndId
    source_port: _EndId | None = None
    id: Annotated[str, Meta(max_length=200)] | None = None


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a flow: a directed graph without cycles. A missing slug is made of the name."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    slug: Annotated[str, Meta(pattern=SLUG_PATTERN)] = ""
    description: Annotated[str, Meta(max_length=10_000)] = ""
    settings: Settings = Settings()
    nodes: Annotated[tuple[AnyNode, ...], Meta(min_length=1, max_length=MAX_NODES)]
    edges: Annotated[tuple[Edge, ...], Meta(max_length=MAX_EDGES)] = ()


def slug_of(name: str) -> str:
    """A slug from a name: "Größe & Preis" → "grosse-preis"; "flow" where no ASCII letter or digit is left."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63].rstrip("-") or "flow"
