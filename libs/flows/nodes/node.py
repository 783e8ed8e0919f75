"""What every node has in common, and what a node type must say of itself.

A node type is one file: a `Config` Struct whose docstring and field descriptions are its documentation, and a
`Node` Struct with its tag and behaviour. Pure nodes define `evaluate(scope)`, which returns the output. Nodes with
`effects` define `steps(scope)`, a generator that yields effects, is sent the answers and returns the output. Nodes
that `pauses` say how long by `pause(scope)`, once, and are evaluated when that time is over.
"""

from functools import cached_property
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from libs.flows.effects import Steps
from libs.flows.faults import Fault
from libs.flows.lookups import Reference
from libs.flows.scope import Scope
from libs.flows.sources import Sources

Program = TypeVar("Program")

NodeId = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$", description="unique in the flow")]
LongText = Annotated[str, Meta(max_length=100_000)]
ShortText = Annotated[str, Meta(max_length=4_096)]
ConfigKeys = Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=32)]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The base of every config: unknown keys are refused, so that a typo doesn't go unseen."""


class Retry(Config, frozen=True, kw_only=True):
    """How often a node that failed for a passing reason is tried, and how long after the first failure."""

    max_attempts: Annotated[int, Meta(ge=1, le=10, description="the first attempt included")] = 1
    backoff_seconds: Annotated[float, Meta(ge=0, le=3600, description="doubled after each attempt")] = 1.0


class Compiled(msgspec.Struct, Generic[Program], frozen=True, kw_only=True):
    """A config made ready: what runs use, and what validation must know. Pointers count from `config`."""

    program: Program
    faults: tuple[Fault, ...]
    references: tuple[tuple[str, Reference], ...]


class Node(
    msgspec.Struct,
    Generic[Program],
    frozen=True,
    kw_only=True,
    tag_field="type",
    forbid_unknown_fields=True,
    omit_defaults=True,
    dict=True,
):
    """One step of a flow. `Program` is what its config compiles to, once for as long as the node lives."""

    title: ClassVar[str]
    output: ClassVar[str]
    """The shape of the output, in words for people."""
    effects: ClassVar[bool] = False
    """Whether it reaches outside; then its start and end are on the log before anything follows."""
    pauses: ClassVar[bool] = False
    """Whether it lets time pass before it gives its output; the run may be put down meanwhile."""
    processing: ClassVar[bool] = True
    """Whether it does more than take in or give out; a deployable flow has one such node."""
    guarded: ClassVar[frozenset[str]] = frozenset()
    """Config keys that a run may tweak only where the node lists them in `tweakable`."""

    id: NodeId
    name: Annotated[str, Meta(max_length=200)] | None = None
    position: Annotated[dict[str, Any], Meta(description="an editor's own, such as x and y")] | None = None
    retry: Retry = Retry()
    timeout_seconds: Annotated[float, Meta(gt=0, le=86_400, description="for one attempt")] | None = None
    on_error: Literal["fail", "continue"] = "fail"
    locked: ConfigKeys = ()
    tweakable: ConfigKeys = ()

    @cached_property
    def compiled(self) -> Compiled[Program]:
        """The config, compiled on first use and kept."""
        sources = Sources()
        program = self.compile(sources)
        return Compiled(program=program, faults=tuple(sources.faults), references=tuple(sources.references))

    @cached_property
    def program(self) -> Program:
        """What `compile` returned; only meaningful for a node without faults."""
        return self.compiled.program

    @property
    def ports(self) -> tuple[str, ...]:
        """The ports of a branching node: its output names the one that is taken. Other nodes have none."""
        return ()

    def compile(self, sources: Sources) -> Program:
        """Makes the config ready to run; reports to `sources` whatever in it is wrong."""
        raise NotImplementedError

    def evaluate(self, scope: Scope) -> Any:
        """The output of a node without effects; raises `Terminal` "node_failed"."""
        raise NotImplementedError

    def pause(self, scope: Scope) -> float:
        """The seconds that a node which pauses waits, from its start; raises `Terminal` "node_failed"."""
        raise NotImplementedError

    def steps(self, scope: Scope) -> Steps:
        """The effects of a node with effects, one after the other; returns the output."""
        raise NotImplementedError


def config_type(node: type[Node[Any]]) -> type[Config]:
    """The config Struct of a node type."""
    config: type[Config] = next(field.type for field in msgspec.structs.fields(node) if field.name == "config")
    return config
