"""`api_input`: where a run's input enters the flow, checked against declared fields."""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta

from libs.flows.nodes.fields import Field, field_schema, inapplicable
from libs.flows.nodes.node import Config, Node
from libs.flows.schemas import schema_faults, validator
from libs.flows.scope import Scope
from libs.flows.sources import Sources
from libs.runtime.media_types import is_pattern


class ApiInputConfig(Config, frozen=True, kw_only=True):
    """What callers send. What they send besides is kept and readable too."""

    fields: Annotated[tuple[Field, ...], Meta(max_length=200, description="the declared values")] = ()


class ApiInput(Node[None], frozen=True, kw_only=True, tag="api_input"):
    """Takes the run's input in; with several in one flow, each leaves out what only others declare."""

    title: ClassVar[str] = "API input"
    output: ClassVar[str] = "the validated input, an object"
    processing: ClassVar[bool] = False
    guarded: ClassVar[frozenset[str]] = frozenset({"fields"})
    foreign: ClassVar[frozenset[str]] = frozenset()
    """Names that only other `api_input` nodes declare; `beside` sets them on a copy."""

    config: ApiInputConfig = msgspec.field(default_factory=ApiInputConfig)

    def compile(self, sources: Sources) -> None:
        first_at: dict[str, int] = {}
        for at, field in enumerate(self.config.fields):
            pointer = f"/fields/{at}"
            if first_at.setdefault(field.name, at) != at:
                sources.fault(
                    f"{pointer}/name", f"{field.name!r} is already declared at /fields/{first_at[field.name]}"
                )
            _check_field(field, pointer, sources)

    def evaluate(self, scope: Scope) -> Any:
        given = scope.run["input"]
        if not self.foreign:
            return given
        return {name: value for name, value in given.items() if name not in self.foreign}

    def beside(self, others: Iterable["ApiInput"]) -> "ApiInput":
        """This node as it behaves next to `others` in one flow."""
        own = {field.name for field in self.config.fields}
        foreign = frozenset(field.name for other in others for field in other.config.fields) - own
        copy = msgspec.structs.replace(self)
        msgspec.structs.force_setattr(copy, "foreign", foreign)
        return copy


def _check_field(field: Field, pointer: str, sources: Sources) -> None:
    keys = inapplicable(field)
    for key in keys:
        sources.fault(f"{pointer}/{key}", f"does not apply to a field of type {field.type}")
    for low, high in (("min_length", "max_length"), ("minimum", "maximum")):
        lower, upper = getattr(field, low), getattr(field, high)
        if lower is not UNSET and upper is not UNSET and lower > upper:
            sources.fault(f"{pointer}/{low}", f"is greater than {high}")
    if keys:
        return
    try:
        check = validator(field_schema(field))
    except ValueError:
        sources.fault(f"{pointer}/pattern", "is not a regular expression that can be matched in linear time")
        return
    for key in ("default", "test_value"):
        value = getattr(field, key)
        if value is not UNSET and value is not None:
            sources.faults += schema_faults(check, value, f"{pointer}/{key}")
    _check_choices(field, pointer, sources)


def _check_choices(field: Field, pointer: str, sources: Sources) -> None:
    if field.enum is UNSET:
        return
    if field.type == "file":
        for at, choice in enumerate(field.enum):
            if not isinstance(choice, str) or not is_pattern(choice):
                sources.fault(f"{pointer}/enum/{at}", "must be a content type, such as `text/plain` or `image/*`")
        return
    check = validator(field_schema(msgspec.structs.replace(field, enum=UNSET)))
    for at, choice in enumerate(field.enum):
        sources.faults += schema_faults(check, choice, f"{pointer}/enum/{at}")
