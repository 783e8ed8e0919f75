"""Evaligo's jobs: a flat body, a receipt, and `queued`, `processing`, `completed` or `failed` on asking."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.dialects.caller import Caller, Deployed
from tests.dialects.dialects import EVALIGO
from tests.dialects.documents import api_input, failing, flow, output, template, text, waiting
from tests.dialects.model import Model


def job(run_id: str) -> str:
    return f"/public/v1/jobs/{run_id}"


def test_b15_the_receipt_comes_at_once_with_the_flow_s_id(admin: Caller, model: Model) -> None:
    deployed = admin.deploy(waiting())
    with model.held() as address:
        for name in (deployed.id, deployed.flow_id, deployed.slug):
            answer = admin.post(EVALIGO.at(name), {"text": address})
            run_id = answer.headers["Headgate-Run-Id"]
            assert answer.status_code == 202
            assert answer.json() == {"job_id": run_id, "status": "queued", "flow_id": deployed.flow_id}
            assert answer.headers["Location"] == job(run_id)


def test_b19_a_job_under_way_is_processing_and_says_when_to_ask_again(admin: Caller, model: Model) -> None:
    deployed = admin.deploy(waiting())
    with model.held() as address:
        run_id = admin.post(EVALIGO.at(deployed.id), {"text": address}).json()["job_id"]
        assert admin.until(job(run_id), "processing") == {
            "job_id": run_id,
            "status": "processing",
            "flow_id": deployed.flow_id,
        }
        asked = admin.get(job(run_id))
        assert 2 <= int(asked.headers["Retry-After"]) <= 5
    completed = admin.until(job(run_id), "completed")
    assert completed["result"] == {"output": "let go"}
    assert "Retry-After" not in admin.get(job(run_id)).headers


def test_b18_a_completed_job_has_the_seed_s_fields(admin: Caller, repeater: Deployed) -> None:
    run_id = admin.post(EVALIGO.at(repeater.id), {"text": "hi"}).json()["job_id"]
    found = admin.until(job(run_id), "completed")
    assert list(found) == ["job_id", "status", "flow_id", "result", "execution_time_seconds", "completed_at"]
    assert found["result"] == {"output": "You said: hi"}
    assert 0 < found["execution_time_seconds"] < 10
    assert found["completed_at"].endswith("Z")
    assert datetime.now(UTC) - datetime.fromisoformat(found["completed_at"]) < timedelta(minutes=1)


def test_b19_a_failed_job_says_why(admin: Caller) -> None:
    deployed = admin.deploy(failing())
    run_id = admin.post(EVALIGO.at(deployed.id), {"text": "x"}).json()["job_id"]
    found = admin.until(job(run_id), "failed")
    assert (found["job_id"], found["flow_id"], found["error_code"]) == (run_id, deployed.flow_id, "node_failed")
    assert found["error"]
    assert "result" not in found
    assert found["completed_at"]


def test_b39_a_cancelled_job_is_a_failed_one(admin: Caller, model: Model) -> None:
    deployed = admin.deploy(waiting())
    with model.held() as address:
        run_id = admin.post(EVALIGO.at(deployed.id), {"text": address}).json()["job_id"]
        assert admin.post(f"/v1/runs/{run_id}/cancel").status_code == 202
        found = admin.until(job(run_id), "failed")
    assert found["error_code"] == "cancelled"


def test_b37_every_field_that_does_not_fit_is_named(admin: Caller) -> None:
    count = {"name": "count", "type": "integer", "required": True}
    deployed = admin.deploy(flow([api_input(text("url", required=True), count), template("{{ in.url }}")]))
    answer = admin.post(EVALIGO.at(deployed.id), {"count": "three"})
    EVALIGO.error(answer, 400, "invalid_input")
    faults = {fault["field"]: fault["message"] for fault in answer.json()["details"]}
    assert set(faults) == {"url", "count"}
    assert "integer" in faults["count"]
    assert admin.post(EVALIGO.at(deployed.id), {"count": 3, "url": "x"}).status_code == 202


def test_b6_without_an_api_output_the_last_node_s_output_is_the_result(admin: Caller) -> None:
    nodes = [api_input(text()), template("Said: {{ in.text }}")]
    plain, shaped = admin.deploy(flow(nodes)), admin.deploy(flow([*nodes, output({"shaped": "{{ say.text }}"})]))
    for deployed, result in ((plain, {"text": "Said: x"}), (shaped, {"shaped": "Said: x"})):
        answer = admin.post(EVALIGO.at(deployed.id), {"text": "x"})
        assert EVALIGO.finished(admin, answer) == result


@pytest.mark.parametrize("slash", ["", "/"])
def test_b17_a_job_is_read_with_the_key_that_may_start_it(slash: str, admin: Caller, repeater: Deployed) -> None:
    own = admin.having(repeater.key)
    run_id = own.post(EVALIGO.at(repeater.id), {"text": "mine"}).json()["job_id"]
    assert own.get(job(run_id) + slash).status_code == 200
    assert admin.having(admin.key_with("read")).get(job(run_id) + slash).status_code == 200
    EVALIGO.error(admin.having("").get(job(run_id) + slash), 401, "unauthorized")
    EVALIGO.error(admin.having(admin.key_with("write")).get(job(run_id) + slash), 403, "forbidden")
    EVALIGO.error(admin.workspace().get(job(run_id) + slash), 404, "not_found")
    EVALIGO.error(admin.get(job("run_unknown") + slash), 404, "not_found")
