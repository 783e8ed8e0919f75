"""FluxPrompt's list of texts by input id, and its outputs by output id."""

from typing import Any

import pytest

from tests.dialects.caller import Caller, Deployed
from tests.dialects.dialects import FLUXPROMPT
from tests.dialects.documents import Document, api_input, flow, output, template, text


def variables(**texts: Any) -> dict[str, Any]:
    return {"variableInputs": [{"inputId": name, "inputText": value} for name, value in texts.items()]}


def two_inputs() -> Document:
    """Two input nodes, one with a single field and one with two."""
    name, words = api_input(text("name"), node_id="node-1"), api_input(text("a"), text("b"), node_id="node-2")
    say, out = template("{{ node-1.name }}: {{ node-2.a }}, {{ node-2.b }}"), output("{{ say.text }}")
    edges = [{"source": source, "target": "say"} for source in ("node-1", "node-2")]
    return flow([name, words, say, out]) | {"edges": [*edges, {"source": "say", "target": "out"}]}


@pytest.fixture(scope="module")
def two(admin: Caller) -> Deployed:
    return admin.deploy(two_inputs())


def test_e9_an_input_is_a_field_s_name_or_a_node_with_one_field(admin: Caller, two: Deployed) -> None:
    for first in ("node-1", "name"):
        answer = admin.post(FLUXPROMPT.at(two.id), variables(**{first: "Ada", "a": "one", "b": "two"}))
        body = answer.json()
        assert list(body) == ["status", "runId", "output", "outputs"]
        assert (body["status"], body["runId"]) == ("completed", answer.headers["Headgate-Run-Id"])
        assert body["output"] == "Ada: one, two"
        assert body["outputs"] == [{"outputId": "out", "outputText": "Ada: one, two"}]


@pytest.mark.parametrize("name", ["node-2", "nobody", "", "say"])
def test_e17_an_unknown_input_is_400_and_says_which_there_are(name: str, admin: Caller, two: Deployed) -> None:
    message = FLUXPROMPT.error(admin.post(FLUXPROMPT.at(two.id), variables(**{name: "x"})), 400, "invalid_input")
    assert "/variableInputs/0/inputId" in message
    assert "name, a, b" in message


def test_the_same_input_twice_is_400(admin: Caller, two: Deployed) -> None:
    message = FLUXPROMPT.error(
        admin.post(FLUXPROMPT.at(two.id), variables(**{"name": "x", "node-1": "y"})), 400, "invalid_input"
    )
    assert "/variableInputs/1/inputId" in message


@pytest.mark.parametrize("given", ["x", [{"inputText": "x"}], [1]], ids=str)
def test_a_list_that_does_not_fit_is_400(given: Any, admin: Caller, two: Deployed) -> None:
    body = {"variableInputs": given}
    assert "/variableInputs" in FLUXPROMPT.error(admin.post(FLUXPROMPT.at(two.id), body), 400, "invalid_input")


@pytest.mark.parametrize(
    ("kind", "given", "read"),
    [
        ("integer", "3", 3),
        ("number", "2.5", 2.5),
        ("boolean", "true", True),
        ("array", "[1, 2]", [1, 2]),
        ("object", '{"a": 1}', {"a": 1}),
        ("string", "3", "3"),
        ("integer", 3, 3),
    ],
)
def test_a_text_is_read_as_its_field_s_type(kind: str, given: Any, read: Any, admin: Caller) -> None:
    field = {"name": "value", "type": kind, "required": True}
    deployed = admin.deploy(flow([api_input(field), template("-"), output("{{ in.value }}")]))
    body = admin.post(FLUXPROMPT.at(deployed.id), variables(value=given)).json()
    assert body["output"] == read
    assert type(body["output"]) is type(read)
    assert isinstance(body["outputs"][0]["outputText"], str)


@pytest.mark.parametrize("kind", ["integer", "number", "boolean", "array", "object"])
def test_a_text_that_is_not_of_the_field_s_type_is_400(kind: str, admin: Caller) -> None:
    field = {"name": "value", "type": kind}
    deployed = admin.deploy(flow([api_input(field), template("-")]))
    FLUXPROMPT.error(admin.post(FLUXPROMPT.at(deployed.id), variables(value="certainly")), 400, "invalid_input")


def test_e10_a_file_is_named_by_its_address_or_its_id(admin: Caller) -> None:
    """The run's input holds the reference; fetching it is the executor's affair (`tests/storage`)."""
    fields: list[Document] = [{"name": name, "type": "file"} for name in ("link", "address", "upload")]
    deployed = admin.deploy(flow([api_input(*fields), template("no file is read"), output("{{ say.text }}")]))
    address = "http://127.0.0.1:1/a.txt"
    given = [
        {"inputId": "link", "inputText": address},
        {"inputId": "address", "fileUrl": address},
        {"inputId": "upload", "fileId": "file_1"},
    ]
    answer = admin.post(FLUXPROMPT.at(deployed.id), {"variableInputs": given})
    run_id = answer.headers["Headgate-Run-Id"]
    requested = admin.get(f"/v1/runs/{run_id}/events").json()["data"][0]
    assert requested["data"]["input"] == {
        "link": {"url": address},
        "address": {"url": address},
        "upload": {"file_id": "file_1"},
    }


def test_several_outputs_are_told_apart_by_their_nodes(admin: Caller) -> None:
    document = flow([api_input(text()), output("1: {{ in.text }}", "one"), output({"two": "{{ in.text }}"}, "two")])
    document["nodes"].append(template("-"))
    document["edges"] = [{"source": "in", "target": target} for target in ("one", "two", "say")]
    body = admin.post(FLUXPROMPT.at(admin.deploy(document).id), variables(text="x")).json()
    assert body["output"] == {"one": "1: x", "two": {"two": "x"}}
    assert body["outputs"] == [
        {"outputId": "one", "outputText": "1: x"},
        {"outputId": "two", "outputText": '{"two":"x"}'},
    ]


@pytest.mark.parametrize(("given", "taken"), [("yes", "left"), ("no", "right")])
def test_the_output_is_that_of_the_branch_that_was_taken(given: str, taken: str, admin: Caller) -> None:
    fork = {"id": "fork", "type": "condition", "config": {"cases": [{"port": "left", "when": "in.text == 'yes'"}]}}
    document = flow([api_input(text()), fork, output({"left": 1}, "left"), output({"right": 2}, "right")])
    document["edges"] = [
        {"source": "in", "target": "fork"},
        {"source": "fork", "target": "left", "source_port": "left"},
        {"source": "fork", "target": "right", "source_port": "else"},
    ]
    body = admin.post(FLUXPROMPT.at(admin.deploy(document).id), variables(text=given)).json()
    assert [each["outputId"] for each in body["outputs"]] == [taken]


def test_without_an_output_node_the_last_node_is_it(admin: Caller) -> None:
    deployed = admin.deploy(flow([api_input(text()), template("{{ in.text }}")]))
    body = admin.post(FLUXPROMPT.at(deployed.id), variables(text="x")).json()
    assert body["output"] == {"text": "x"}
    assert body["outputs"] == [{"outputId": "say", "outputText": '{"text":"x"}'}]


def test_e3_the_flow_is_named_in_the_query_and_must_be(admin: Caller, two: Deployed) -> None:
    for query in ("", "?flowId="):
        answer = admin.post(f"/flux/api-v2{query}", variables(name="x"))
        assert answer.status_code in (400, 404)
        FLUXPROMPT.error(answer, answer.status_code, "invalid_input" if answer.status_code == 400 else "not_found")
    assert admin.post(f"/flux/api-v2?flowId={two.slug}&version=2", variables(name="x")).ok


def test_an_error_has_the_request_s_id(admin: Caller, two: Deployed) -> None:
    answer = admin.post(FLUXPROMPT.at(two.id), variables(nobody="x"))
    assert answer.json()["requestId"] == answer.headers["X-Request-Id"]


def test_e6_a_rotated_key_is_refused_at_once(admin: Caller, two: Deployed) -> None:
    made = admin.made("/v1/keys", {"name": "personal", "permissions": ["execute"]})
    assert admin.having(made["key"]).post(FLUXPROMPT.at(two.id), variables(name="x")).ok
    rotated = admin.made(f"/v1/keys/{made['id']}/rotate", {})
    FLUXPROMPT.error(admin.having(made["key"]).post(FLUXPROMPT.at(two.id)), 401, "unauthorized")
    assert admin.having(rotated["key"]).post(FLUXPROMPT.at(two.id), variables(name="x")).ok
