"""What is asked of other products, without them: how long, and the flow that Langflow is given."""

from typing import Any

from bench.peers import order_for
from bench.peers.langflow import four_nodes
from bench.peers.peer import Peer
from bench.report import Plan

PLAN = Plan(seconds=3, warmup_seconds=0.5, rounds=1, connections=[1, 64], fsync=["always"])


def peer(run_seconds: float) -> Peer:
    return Peer(port=1, path="/", body="", expect="", version="1", durable="", run_seconds=run_seconds)


def test_a_quick_peer_is_asked_as_long_as_the_plan_says() -> None:
    asked = order_for(peer(0.0), 64, PLAN)
    assert (asked.seconds, asked.warmup_seconds) == (3, 0.5)


def test_a_slow_peer_is_asked_until_each_connection_has_some_answers() -> None:
    alone, crowded = order_for(peer(0.1), 1, PLAN), order_for(peer(0.1), 64, PLAN)
    turn_seconds = 0.1 * 64

    assert (alone.seconds, alone.warmup_seconds) == (3, 0.5)
    assert crowded.seconds >= 3 * turn_seconds
    assert crowded.warmup_seconds >= turn_seconds
    assert crowded.patience_seconds > 2 * turn_seconds


def test_each_edge_of_langflows_flow_goes_from_an_output_into_a_field_that_takes_it() -> None:
    flow = four_nodes(components())
    nodes = {node["id"]: node["data"] for node in flow["nodes"]}

    assert len(nodes) == 4
    assert [edge["source"] for edge in flow["edges"]] + [flow["edges"][-1]["target"]] == list(nodes)
    for edge in flow["edges"]:
        source, target = edge["data"]["sourceHandle"], edge["data"]["targetHandle"]
        field = nodes[edge["target"]]["node"]["template"][target["fieldName"]]
        assert source["name"] in {output["name"] for output in nodes[edge["source"]]["node"]["outputs"]}
        assert set(source["output_types"]) & set(field["input_types"])
        assert (target["inputTypes"], target["type"]) == (field["input_types"], field["type"])


def components() -> dict[str, Any]:
    """As much of Langflow's components as the flow needs."""
    message = {"type": "str", "value": "", "input_types": ["Message"]}
    return {
        "input_output": {
            "ChatInput": component("Message", input_value=message),
            "ChatOutput": component("Message", input_value={"type": "other", "input_types": ["Data", "Message"]}),
        },
        "models_and_agents": {
            "Prompt Template": component("Message", template={"type": "prompt", "value": ""}, tool_placeholder=message)
        },
        "processing": {"CombineText": component("Message", text1=message, text2=message)},
    }


def component(output: str, **fields: Any) -> dict[str, Any]:
    return {"outputs": [{"name": output.lower(), "types": [output]}], "template": fields}
