"""Order, cycles and ancestry of graphs, large ones too."""

import time

from hypothesis import given
from hypothesis import strategies as st

from libs.flows.graph import ancestors, cycles, descendants, topological_order

LINKS = st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] != pair[1]), max_size=20)


def test_document_order_breaks_ties() -> None:
    assert topological_order(["c", "a", "b"], [("a", "b")]) == ["c", "a", "b"]
    assert topological_order(["b", "c", "a"], [("a", "b")]) == ["c", "a", "b"]


def test_what_lies_on_or_behind_a_cycle_is_not_ordered() -> None:
    assert topological_order(list("abcd"), [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]) == ["a"]


def test_ten_thousand_nodes_take_no_recursion_and_little_time() -> None:
    ids = [str(at) for at in range(10_000)]
    ring = [(ids[at], ids[(at + 1) % len(ids)]) for at in range(len(ids))]
    begin = time.perf_counter()
    assert [len(cycle) for cycle in cycles(ids, ring, 100)] == [10_000]
    assert topological_order(ids, ring[:-1]) == ids
    assert len(descendants("0", {source: [target] for source, target in ring})) == 10_000
    assert time.perf_counter() - begin < 2


@given(LINKS)
def test_cycles_are_cycles_and_there_are_none_in_an_ordered_graph(pairs: set[tuple[int, int]]) -> None:
    ids = [str(at) for at in range(8)]
    links = [(str(source), str(target)) for source, target in sorted(pairs)]
    found = cycles(ids, links, 10)
    assert bool(found) == (len(topological_order(ids, links)) < len(ids))
    for cycle in found:
        assert all(link in links for link in zip(cycle, [*cycle[1:], cycle[0]], strict=True))


@given(LINKS)
def test_ancestors_are_exactly_what_leads_here(pairs: set[tuple[int, int]]) -> None:
    ids = [str(at) for at in range(8)]
    links = [(str(source), str(target)) for source, target in sorted(pairs) if source < target]
    targets = {node_id: [target for source, target in links if source == node_id] for node_id in ids}
    before = ancestors(topological_order(ids, links), links)
    for node_id in ids:
        assert before[node_id] == {other for other in ids if node_id in descendants(other, targets)}
