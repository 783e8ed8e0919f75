"""Flow documents of any sort: taken, or refused with reasons; and what is taken can be compiled."""

import os
from typing import Any

from hypothesis import HealthCheck, given, settings

from libs.flows import CompiledFlow, InvalidFlow, InvalidInput, compile_flow, load
from libs.flows.faults import Fault
from tests.fuzz.documents import documents, mutated, values

_SEARCH = settings(
    max_examples=400,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)


def taken(document: Any) -> CompiledFlow | tuple[Fault, ...]:
    """The compiled flow, or what is wrong with the document."""
    try:
        return compile_flow(load(document))
    except InvalidFlow as invalid:
        return tuple(invalid.faults)


def read(flow: CompiledFlow, value: Any) -> bool:
    """Whether a flow takes an input."""
    try:
        flow.read_input(value)
    except InvalidInput as invalid:
        return not invalid.faults
    return True


@_SEARCH
@given(documents() | mutated() | values, values)
def test_any_document_is_taken_or_refused_with_reasons(document: Any, value: Any) -> None:
    flow = taken(document)
    if isinstance(flow, CompiledFlow):
        assert flow.nodes
        assert read(flow, value) in (True, False)
        return
    assert flow
    for fault in flow:
        assert fault.pointer == "" or fault.pointer.startswith("/")
        assert fault.detail


def test_much_of_what_is_made_is_good() -> None:
    """A search in which everything is refused at once is none."""
    good: list[bool] = []

    @settings(_SEARCH, max_examples=100)
    @given(documents())
    def look(document: dict[str, Any]) -> None:
        good.append(isinstance(taken(document), CompiledFlow))

    look()
    assert sum(good) > len(good) / 4
