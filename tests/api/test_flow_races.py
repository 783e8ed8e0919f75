"""Two gateways and one flow at the same moment: the log decides, numbers have no gap, and nothing is lost."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from libs.events.broker import Broker
from libs.events.managed import Change, FlowVersion, SlugClaim, record, slug_subject, version_subject
from libs.runtime.ids import new_id
from tests.api.client import Answer, Caller
from tests.flows.documents import greeter


async def test_20_saves_at_once_get_20_versions_in_a_row(caller: Caller) -> None:
    flow = await caller.post("/v1/flows", greeter(), expect=201)
    await caller.settle()
    wishes = [{**greeter(), "description": f"save {number}"} for number in range(20)]
    saved = await asyncio.gather(
        *[caller.at(number % 2).put(f"/v1/flows/{flow['id']}", wish) for number, wish in enumerate(wishes)]
    )
    assert sorted(each["version"] for each in saved) == list(range(2, 22))
    await caller.settle()
    for wish, answer in zip(wishes, saved, strict=True):
        stored = await caller.get(f"/v1/flows/{flow['id']}/versions/{answer['version']}")
        assert stored["description"] == answer["description"] == wish["description"]
    for gateway in (0, 1):
        versions = await caller.at(gateway).pages(f"/v1/flows/{flow['id']}/versions", 10)
        assert [each["version"] for each in versions] == list(range(21, 0, -1))


async def test_of_many_flows_with_one_slug_exactly_one_is_made(caller: Caller) -> None:
    answers: list[Answer] = await asyncio.gather(
        *[caller.at(number % 2).call("POST", "/v1/flows", greeter()) for number in range(10)]
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9
    await caller.settle()
    (made,) = await caller.pages("/v1/flows", 100)
    assert made["id"] == next(answer.json["id"] for answer in answers if answer.status == 201)


async def test_of_many_imports_of_one_document_each_gets_a_slug(caller: Caller) -> None:
    made = await asyncio.gather(
        *[caller.at(number % 2).post("/v1/flows/import", greeter(), expect=201) for number in range(8)]
    )
    assert sorted(each["slug"] for each in made) == ["greeter", *(f"greeter-{number}" for number in range(2, 9))]


async def test_of_two_deletes_at_once_one_has_deleted(caller: Caller) -> None:
    for _ in range(5):
        await caller.deploy()
        await caller.settle()
        answers = await asyncio.gather(*[caller.at(n).call("DELETE", "/v1/flows/greeter") for n in (0, 1)])
        assert sorted(answer.status for answer in answers) == [204, 404]


async def test_saves_that_swap_slugs_leave_each_slug_with_one_flow(caller: Caller) -> None:
    flows = [await caller.post("/v1/flows", {**greeter(), "slug": f"s-{n}"}, expect=201) for n in range(2)]
    for _ in range(5):
        await caller.settle()
        await asyncio.gather(
            *[
                caller.at(at).call("PUT", f"/v1/flows/{flow['id']}", {**greeter(), "slug": f"s-{slug}"})
                for at, flow in enumerate(flows)
                for slug in range(3)
            ]
        )
        await caller.settle()
        slugs = [(await caller.get(f"/v1/flows/{flow['id']}"))["slug"] for flow in flows]
        assert len(set(slugs)) == 2
        for slug, flow in zip(slugs, flows, strict=True):
            assert (await caller.get(f"/v1/flows/{slug}"))["id"] == flow["id"]
            await caller.post("/v1/flows", {**greeter(), "slug": slug}, expect=409)


async def test_a_version_that_a_gateway_died_over_is_finished_by_the_next_save(broker: Broker, caller: Caller) -> None:
    flow = await caller.post("/v1/flows", greeter(), expect=201)
    now = datetime.now(UTC)
    document = {**greeter(), "description": "cut off"}
    state = FlowVersion(flow_id=flow["id"], version=2, created_at=now, document=document)
    subject = version_subject(caller.workspace, flow["id"], 2)
    await record(broker, subject, Change(type="flow.version_stored", at=now, by="k", state=state), after=0)
    assert (await caller.get("/v1/flows/greeter"))["version"] == 1
    await caller.get("/v1/flows/greeter/versions/2", expect=404)
    assert (await caller.put("/v1/flows/greeter", greeter()))["version"] == 3
    assert (await caller.get("/v1/flows/greeter/versions/2"))["description"] == "cut off"


@pytest.mark.parametrize(("age", "status"), [(timedelta(seconds=1), 409), (timedelta(minutes=2), 201)])
async def test_a_slug_that_a_gateway_died_over_is_free_after_a_minute(
    broker: Broker, caller: Caller, age: timedelta, status: int
) -> None:
    change = Change(type="slug.claimed", at=datetime.now(UTC) - age, by="k", state=SlugClaim(flow_id=new_id("flow")))
    await record(broker, slug_subject(caller.workspace, "greeter"), change, after=0)
    await caller.post("/v1/flows", greeter(), expect=status)
