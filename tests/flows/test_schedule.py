"""What runs next: from what is settled, node by node and from a log."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.flows import SKIPPED, CompiledFlow, Frontier, Settled, Steps, failed, finished, next_steps, outcome
from tests.flows.documents import compiled, document, edge, node


def template(node_id: str, **more: Any) -> dict[str, Any]:
    return node(node_id, "template", {"text": "x"}, **more)


def branching() -> CompiledFlow:
    """in → c, which leads to `big` or, else, to `small`; both lead to `end`; `deep` hangs on `small`."""
    cases = [{"port": "yes", "when": "in.n > `1`"}]
    nodes = [node("in", "api_input"), node("c", "condition", {"cases": cases})]
    nodes += [template(name) for name in ("big", "small", "deep", "end")]
    edges = [edge("in", "c"), edge("c", "big", "yes"), edge("c", "small", "else")]
    edges += [edge("small", "deep"), edge("big", "end"), edge("deep", "end")]
    return compiled(document(nodes, edges))


def names(steps: Steps) -> tuple[list[str], list[str], bool]:
    return [each.id for each in steps.start], list(steps.skip), steps.done


DONE = Settled(status="finished")


def test_a_branch_not_taken_is_skipped_all_along() -> None:
    frontier = Frontier(branching())
    assert names(frontier.ready()) == (["in"], [], False)
    assert names(frontier.settle("in", DONE)) == (["c"], [], False)
    assert names(frontier.settle("c", Settled(status="finished", port="yes"))) == (["big"], ["small", "deep"], False)
    assert names(frontier.settle("big", DONE)) == (["end"], [], False)
    assert names(frontier.settle("end", DONE)) == ([], [], True)


def test_a_node_waits_for_every_edge_and_needs_one_taken() -> None:
    nodes = [template("a"), template("b"), template("c")]
    flow = compiled(document(nodes, [edge("a", "c"), edge("b", "c")]))
    frontier = Frontier(flow)
    assert names(frontier.ready()) == (["a", "b"], [], False)
    assert names(frontier.settle("a", SKIPPED)) == ([], [], False)
    assert names(frontier.settle("b", DONE)) == (["c"], [], False)


def test_a_node_settles_once() -> None:
    frontier = Frontier(branching())
    frontier.settle("in", DONE)
    with pytest.raises(KeyError):
        frontier.settle("in", DONE)


def test_a_failure_stops_what_follows_unless_the_node_continues() -> None:
    stop = compiled(document([template("a"), template("b")], [edge("a", "b")]))
    ended = failed(stop.nodes["a"], "node_failed", "no")
    assert ended == Settled(status="failed")
    assert names(Frontier(stop).settle("a", ended)) == ([], ["b"], True)

    go_on = compiled(document([template("a", on_error="continue"), template("b")], [edge("a", "b")]))
    ended = failed(go_on.nodes["a"], "node_failed", "no")
    assert ended.output == {"error": {"code": "node_failed", "message": "no"}}
    assert names(Frontier(go_on).settle("a", ended)) == (["b"], [], False)


def test_a_condition_that_failed_and_continues_goes_out_at_else() -> None:
    nodes = [node("c", "condition", {"cases": [{"port": "yes", "when": "run.id"}]}, on_error="continue")]
    nodes += [template("a"), template("b")]
    flow = compiled(document(nodes, [edge("c", "a", "yes"), edge("c", "b", "else")]))
    steps = Frontier(flow).settle("c", failed(flow.nodes["c"], "node_timeout", "slow"))
    assert names(steps) == (["b"], ["a"], False)


def test_several_ports_may_lead_to_one_node() -> None:
    nodes = [node("c", "condition", {"cases": [{"port": "yes", "when": "run.id"}]}), template("a")]
    flow = compiled(document(nodes, [edge("c", "a", "yes"), edge("c", "a", "else")]))
    assert names(Frontier(flow).settle("c", finished(flow.nodes["c"], {"port": "else"}))) == (["a"], [], False)


def test_a_log_cut_anywhere_resumes_with_what_is_missing() -> None:
    flow = branching()
    settled = {"in": DONE, "c": Settled(status="finished", port="yes")}
    assert names(next_steps(flow, settled, started=[])) == (["big"], ["small", "deep"], False)
    assert names(next_steps(flow, settled | {"small": SKIPPED}, started=["big"])) == ([], ["deep"], False)
    assert names(Frontier.from_settled(flow, settled).ready()) == (["big"], ["small", "deep"], False)


def test_a_replay_takes_over_everything_that_is_not_downstream() -> None:
    flow = branching()
    assert flow.downstream("small") == {"deep", "end"}
    kept = {"in": DONE, "c": Settled(status="finished", port="else"), "big": SKIPPED}
    assert names(next_steps(flow, kept, started=[])) == (["small"], [], False)


def answer(nodes: list[Any], edges: list[Any], settled: dict[str, Settled]) -> Any:
    return outcome(compiled(document(nodes, edges)), settled)


def test_the_output_is_that_of_the_api_output_that_was_reached() -> None:
    nodes = [node(name, "api_output", {"value": 1}) for name in ("a", "b")] + [template("t")]
    one, two = (Settled(status="finished", output=value) for value in (None, 2))
    assert answer(nodes, [], {"a": SKIPPED, "b": two, "t": DONE}) == 2
    assert answer(nodes, [], {"a": one, "b": two, "t": DONE}) == {"a": None, "b": 2}
    assert answer(nodes, [], {"a": SKIPPED, "b": SKIPPED, "t": two}) is None


def test_without_api_output_the_last_finished_node_answers() -> None:
    nodes = [template("z"), template("a"), template("b")]
    edges = [edge("a", "b"), edge("b", "z")]
    settled = {"a": Settled(status="finished", output="a"), "b": Settled(status="finished", output="b")}
    assert answer(nodes, edges, settled | {"z": SKIPPED}) == "b"
    assert answer(nodes, edges, settled | {"z": Settled(status="finished", output="z")}) == "z"
    assert answer(nodes, edges, dict.fromkeys("abz", SKIPPED)) is None


FORWARD = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda pair: pair[0] < pair[1]), max_size=14)


@given(FORWARD, st.lists(st.booleans(), min_size=7, max_size=7), st.randoms(use_true_random=False))
def test_in_any_order_every_node_settles_once_by_the_rule(pairs: Any, works: list[bool], chance: Any) -> None:
    nodes = [template(f"n{at}") for at in range(7)]
    links = sorted(pairs)
    flow = compiled(document(nodes, [edge(f"n{source}", f"n{target}") for source, target in links]))
    frontier = Frontier(flow)
    steps = frontier.ready()
    settled: dict[str, Settled] = {}
    open_ids = [each.id for each in steps.start]
    for _ in itertools.count():
        assert {each.id for each in next_steps(flow, settled, started=[]).start} == set(open_ids)
        if not open_ids:
            break
        node_id = open_ids.pop(chance.randrange(len(open_ids)))
        settled[node_id] = DONE if works[int(node_id[1:])] else Settled(status="failed")
        steps = frontier.settle(node_id, settled[node_id])
        settled |= dict.fromkeys(steps.skip, SKIPPED)
        open_ids += [each.id for each in steps.start]
    assert steps.done
    for at in range(7):
        sources = [settled[f"n{source}"].status for source, target in links if target == at]
        ran = not sources or "finished" in sources
        assert (settled[f"n{at}"].status != "skipped") == ran
