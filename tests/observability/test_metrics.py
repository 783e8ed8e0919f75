"""What every process shows on `/metrics`, after real calls to a real stack."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable

import pytest

from libs.runtime.ids import new_id
from tests.e2e.caller import Caller, calling, until
from tests.e2e.flows import chain, flow, output, prompt, template
from tests.e2e.model import model
from tests.observability.scrape import SERVICES, of_service, series, value
from tests.stack import Stack

SECRET_OR_ID = re.compile(r"[a-z]+_[0-9A-Za-z]{16,}|[0-9a-f]{8}-[0-9a-f]{4}-|sk-|whsec_")
MAX_SERIES = 1500
"""Of one process after these tests: label values come from closed sets."""


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as found:
        yield found


def read(stack: Stack, service: str, sample: str, **labels: str) -> float:
    return value(of_service(stack, service), sample, **labels)


async def grows(stack: Stack, service: str, sample: str, before: float, by: float = 1, **labels: str) -> None:
    await until(lambda: is_at_least(lambda: read(stack, service, sample, **labels), before + by))


async def is_at_least(look: Callable[[], float], wanted: float) -> bool:
    return await asyncio.to_thread(look) >= wanted


async def test_a_run_is_counted_in_every_process_that_it_passes(stack: Stack, caller: Caller) -> None:
    deployment = await caller.deploy(chain(template("hi", "Hello, {{ in.text }}"), output("{{ hi.text }}")))
    route = {"route": "/v1/deployments/{deployment_id}/runs", "method": "POST", "dialect": "native"}
    before = {service: of_service(stack, service) for service in SERVICES}

    assert (await caller.start(deployment)).body["status"] == "completed"

    gateway, executor = of_service(stack, "gateway"), of_service(stack, "executor")
    for found, sample, labels, by in (
        ("gateway", "headgate_http_requests_total", {**route, "status": "2xx"}, 1),
        ("gateway", "headgate_http_request_duration_seconds_count", route, 1),
        ("gateway", "headgate_append_duration_seconds_count", {}, 1),
        ("executor", "headgate_append_duration_seconds_count", {}, 1),
        ("executor", "headgate_runs_total", {"outcome": "completed"}, 1),
        ("executor", "headgate_run_duration_seconds_count", {}, 1),
        ("executor", "headgate_run_wait_seconds_count", {}, 1),
        ("executor", "headgate_node_duration_seconds_count", {"node_type": "template"}, 1),
        ("executor", "headgate_node_duration_seconds_count", {"node_type": "api_input"}, 1),
    ):
        now = value(gateway if found == "gateway" else executor, sample, **labels)
        assert now - value(before[found], sample, **labels) == by, (sample, labels)


async def test_a_model_is_counted_by_its_provider_never_by_its_name(
    stack: Stack, caller: Caller, model_port: int
) -> None:
    deployment = await caller.deploy(chain(prompt("llm", "openai/gpt-4o-mini"), output("{{ llm.text }}")))
    before = read(stack, "executor", "headgate_model_tokens_total", provider="openai", direction="input")
    async with model(model_port, ["Hel", "lo"]):
        assert (await caller.start(deployment)).body["output"] == "Hello"
    found = of_service(stack, "executor")
    assert value(found, "headgate_model_tokens_total", provider="openai", direction="input") - before == 1000
    assert value(found, "headgate_model_cost_usd_total", provider="openai") > 0
    assert value(found, "headgate_model_call_duration_seconds_count", provider="openai") >= 1
    assert "gpt-4o-mini" not in str(found)


async def test_failures_and_retries_are_counted_by_type_and_code(stack: Stack, caller: Caller, model_port: int) -> None:
    retry = {"retry": {"max_attempts": 2, "backoff_seconds": 0.01}}
    deployment = await caller.deploy(chain(prompt("llm", "openai/gpt-4o-mini", **retry), output("{{ llm.text }}")))
    before = of_service(stack, "executor")
    assert (await caller.start(deployment)).body["status"] == "failed"  # nobody serves the model
    after = of_service(stack, "executor")
    for sample, labels, by in (
        ("headgate_node_retries_total", {"node_type": "prompt"}, 1),
        ("headgate_node_failures_total", {"node_type": "prompt", "code": "node_failed"}, 1),
        ("headgate_model_call_failures_total", {"provider": "openai"}, 2),
        ("headgate_runs_total", {"outcome": "failed"}, 1),
    ):
        assert value(after, sample, **labels) - value(before, sample, **labels) == by, sample


async def test_a_failed_run_is_no_error_of_ours_in_any_dialect(stack: Stack, caller: Caller) -> None:
    deployment = await caller.deploy(chain(prompt("llm", "nobody/x"), output("{{ llm.text }}")))
    before = of_service(stack, "gateway")
    answer = await caller.call("POST", f"/node/deployment-trigger/{deployment}/", {"text": "x"})
    assert answer.status == 500
    after = of_service(stack, "gateway")
    counted = {"dialect": "aicuflow", "status": "5xx"}
    assert value(after, "headgate_http_requests_total", **counted) == 1 + value(
        before, "headgate_http_requests_total", **counted
    )
    ours = {"reason": "unavailable"}
    assert value(after, "headgate_http_problems_total", **ours) == value(before, "headgate_http_problems_total", **ours)


async def test_refusals_are_counted_by_their_reason(stack: Stack, caller: Caller) -> None:
    before = of_service(stack, "gateway")
    assert (await caller.call("GET", f"/v1/runs/{new_id('run')}")).status == 404
    assert (await caller.call("GET", f"/nothing/{new_id('x')}")).status == 404
    after = of_service(stack, "gateway")
    code = {"reason": "not_found"}
    assert value(after, "headgate_http_problems_total", **code) == 2 + value(
        before, "headgate_http_problems_total", **code
    )
    unrouted = {"route": "none", "status": "4xx"}
    assert value(after, "headgate_http_requests_total", **unrouted) == 1 + value(
        before, "headgate_http_requests_total", **unrouted
    )


async def test_a_cancelled_run_is_counted_by_who_ended_it(stack: Stack, caller: Caller, model_port: int) -> None:
    deployment = await caller.deploy(chain(prompt("llm", "openai/gpt-4o-mini"), output("{{ llm.text }}")))
    before = read(stack, "gateway", "headgate_runs_total", outcome="cancelled")
    async with model(model_port, ["a", "b"]) as held:
        held.released.clear()
        run_id = await caller.submit(deployment)
        assert (await caller.call("POST", f"/v1/runs/{run_id}/cancel")).status == 202
        held.released.set()
    assert read(stack, "gateway", "headgate_runs_total", outcome="cancelled") == before + 1
    assert f'"run_id":"{run_id}"' in stack.log("gateway")


async def test_the_log_and_the_tables_are_watched(stack: Stack, caller: Caller) -> None:
    deployment = await caller.deploy(flow([template("hi", "x")], [("in", "hi")]))
    await caller.start(deployment)

    async def shown() -> bool:
        found = await asyncio.to_thread(of_service, stack, "gateway")
        streams = {s.labels["stream"] for s in found["headgate_stream_messages"].samples}
        consumers = {s.labels["consumer"] for s in found["headgate_consumer_pending"].samples}
        behind = {s.labels["stream"] for s in found["headgate_projection_pending"].samples}
        return (
            {"EVENTS_0", "EVENTS_3", "MANAGEMENT", "DEAD_LETTERS"} <= streams
            and {"executors", "feeders"} <= consumers
            and "EVENTS_0" in behind
            and value(found, "headgate_log_storage_bytes") > 0
            and value(found, "headgate_disk_free_bytes") > 0
            and value(found, "headgate_consumer_pending", consumer="executors") == 0
        )

    await until(shown)


@pytest.mark.parametrize("service", SERVICES)
def test_every_process_says_what_it_is_and_how_it_does(stack: Stack, service: str) -> None:
    found = of_service(stack, service)
    assert value(found, "headgate_build_info", service=service) == 1
    assert value(found, "headgate_broker_connected") == 1
    assert value(found, "headgate_event_loop_lag_seconds_count") > 0
    assert value(found, "headgate_process_resident_memory_bytes") > 1e7
    assert all(name.startswith("headgate_") for name in found), sorted(found)
    assert series(found) < MAX_SERIES
    if service in ("gateway", "executor"):
        assert value(found, "headgate_database_up") == 1


@pytest.mark.parametrize("service", SERVICES)
def test_names_end_as_prometheus_has_it_and_labels_hold_no_ids(stack: Stack, service: str) -> None:
    for family in of_service(stack, service).values():
        assert family.documentation, family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
            told = " ".join(sample.labels.values())
            assert not SECRET_OR_ID.search(told), sample
