"""aicuflow's envelope: `{"status": "success", "data": …}`, of any output, waited for or not."""

from typing import Any

import pytest

from tests.dialects.caller import Caller, Deployed
from tests.dialects.dialects import AICUFLOW
from tests.dialects.documents import Document, api_input, flow, output, template, waiting
from tests.dialects.model import Model


def returning(value: Any) -> Document:
    fields: list[Document] = [{"name": "any", "type": "object"}]
    return flow([api_input(*fields), template("-"), output(value)])


@pytest.mark.parametrize("value", ["text", 7, None, True, [1, {"a": "b"}], {"deep": {"er": []}}], ids=repr)
def test_a20_the_success_envelope_holds_any_output(value: Any, admin: Caller) -> None:
    answer = admin.post(AICUFLOW.at(admin.deploy(returning(value)).id), {"input_data": {}})
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"status", "data"}
    assert body["status"] == "success"
    assert body["data"] == {
        "status": "completed",
        "job_id": answer.headers["Headgate-Run-Id"],
        "output_data": value,
        "duration_seconds": body["data"]["duration_seconds"],
    }
    assert 0 < body["data"]["duration_seconds"] < 10


def test_a19_input_data_keeps_the_types_that_it_has(admin: Caller) -> None:
    given = {"any": {"list": [1, 2.5, None], "flag": False}, "undeclared": "kept"}
    deployed = admin.deploy(returning("{{ in }}"))
    body = admin.post(AICUFLOW.at(deployed.id), {"input_data": given}).json()
    assert body["data"]["output_data"] == given


def test_a19_input_data_of_null_is_an_empty_input(admin: Caller) -> None:
    deployed = admin.deploy(returning("{{ in }}"))
    assert admin.post(AICUFLOW.at(deployed.id), {"input_data": None}).json()["data"]["output_data"] == {}


def test_a21_the_message_of_an_error_names_the_place_in_input_data(admin: Caller, repeater: Deployed) -> None:
    answer = admin.post(AICUFLOW.at(repeater.id), {"input_data": {"text": 1}})
    assert "/input_data/text" in AICUFLOW.error(answer, 400, "invalid_input")


def test_a24_the_mode_is_the_deployment_s_and_may_be_changed(admin: Caller, model: Model) -> None:
    deployed = admin.deploy(waiting(), mode="async")
    with model.held() as address:
        body = AICUFLOW.body(address)
        assert admin.post(AICUFLOW.at(deployed.id), body).json()["data"]["status"] == "queued"
    assert admin.call("PATCH", f"/v1/deployments/{deployed.id}", {"mode": "sync"}).ok
    assert admin.post(AICUFLOW.at(deployed.id), body).json()["data"]["output_data"] == "let go"


@pytest.mark.parametrize("kind", ["test", "production"])
def test_a25_the_first_call_of_a_deployment_of_either_type_is_answered(kind: str, admin: Caller) -> None:
    deployed = admin.deploy(returning("warm"), type=kind)
    assert admin.post(AICUFLOW.at(deployed.id)).json()["data"]["output_data"] == "warm"


def test_a32_an_edited_flow_goes_live_when_it_is_redeployed(admin: Caller) -> None:
    document = returning("first")
    deployed = admin.deploy(document)
    edited = {**document, "nodes": [*document["nodes"][:-1], output("second")]}
    assert admin.call("PUT", f"/v1/flows/{deployed.flow_id}", edited).ok
    assert admin.post(AICUFLOW.at(deployed.id)).json()["data"]["output_data"] == "first"
    assert admin.post(f"/v1/deployments/{deployed.id}/redeploy").ok
    assert admin.post(AICUFLOW.at(deployed.id)).json()["data"]["output_data"] == "second"


def test_a33_a_deleted_deployment_is_gone_and_so_is_its_key(admin: Caller) -> None:
    deployed = admin.deploy(returning("here"))
    assert admin.call("DELETE", f"/v1/deployments/{deployed.id}").status_code == 204
    AICUFLOW.error(admin.post(AICUFLOW.at(deployed.id)), 404, "not_found")
    AICUFLOW.error(admin.having(deployed.key).post(AICUFLOW.at(deployed.id)), 401, "unauthorized")
