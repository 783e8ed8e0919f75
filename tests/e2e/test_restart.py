"""`kill -9` of everything, and a second start on the same data: what was accepted is carried through, once."""

import asyncio

import aiohttp

from tests.e2e.caller import Answer, Caller, assert_whole, calling
from tests.e2e.flows import chain, http, output, template
from tests.e2e.target import Target
from tests.e2e.wire import wire
from tests.stack import Stack

NODES = ["in", "a", "b", "out"]
ASKED = 60


async def test_every_accepted_run_ends_exactly_once(fragile: Stack, web: Target) -> None:
    web.hold("/b")
    keys = [f"key-{n}" for n in range(ASKED)]
    async with calling(fragile) as caller:
        deployment = await caller.deploy(chain(*[http(n, web.url(f"/{n}")) for n in "ab"], output("{{ in.text }}")))
        asking = [asyncio.create_task(_ask(caller, deployment, keys[n], n)) for n in range(ASKED)]
        held = {request.run_id for request in await web.received("/b", ASKED // 4)}
        await asyncio.to_thread(fragile.crash)
        accepted = {
            key: answer.run_id for key, answer in zip(keys, await asyncio.gather(*asking), strict=True) if answer
        }
    assert held
    fragile.start()  # here and not in a thread: its end would be the end of what it started
    assert fragile.ready_after_seconds < 10
    web.release("/b")
    async with calling(fragile) as caller:
        answers = await asyncio.gather(*[_ask(caller, deployment, key, n) for n, key in enumerate(keys)])
        run_ids = {key: answer.run_id for key, answer in zip(keys, answers, strict=True) if answer}
        assert len(set(run_ids.values())) == ASKED
        assert accepted.items() <= run_ids.items()
        for n, key in enumerate(keys):
            assert (await caller.ended(run_ids[key], gateway=n % 2))["output"] == f"t{n}"
            events = await caller.events(run_ids[key])
            assert_whole(events, NODES)
            starts = [event["node"] for event in events if event["type"] == "node.started"]
            for node in "ab":
                assert 1 <= web.calls(f"/{node}")[f"{run_ids[key]}:{node}"] <= starts.count(node)
        # Those that had come as far as B had their first node on the log.
        assert all(web.calls("/a")[f"{run_id}:a"] == 1 for run_id in held)
        listed = await caller.call("GET", f"/v1/runs?deployment_id={deployment}&limit=100")
        assert sorted(run["id"] for run in listed.body["data"]) == sorted(run_ids.values())
        assert {run["status"] for run in listed.body["data"]} == {"completed"}


async def test_keys_and_streams_mean_the_same_after_a_restart(fragile: Stack, web: Target) -> None:
    web.hold("/a")
    async with calling(fragile) as caller:
        quick = await caller.deploy(chain(template("a", "{{ in.text }}"), output("{{ a.text }}")))
        slow = await caller.deploy(chain(http("a", web.url("/a")), output("{{ a.body.path }}")))
        done = await caller.start(quick, "before", key="the-key")
        before = await caller.events(done.run_id)
        run_id = await caller.submit(slow)
        path = f"/v1/runs/{run_id}/events"
        async with wire(fragile.urls[0] + path, fragile.headers) as stream:
            await stream.read_until("node.started")
            await web.received("/a")
            seen = stream.events
            await asyncio.to_thread(fragile.crash)
    fragile.start()  # here and not in a thread: its end would be the end of what it started
    async with calling(fragile) as caller:
        again = await caller.start(quick, "before", key="the-key", gateway=1)
        other = await caller.start(quick, "after", key="the-key", gateway=1)
        assert (again.status, again.body) == (200, done.body)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert other.status == 422
        web.release("/a")
        for host in (fragile.urls[1], fragile.process("notifier")["url"]):
            async with wire(host + path, fragile.headers, after=str(seen[-1]["seq"])) as stream:
                await stream.read_all()
                assert [*seen, *stream.events] == await caller.events(run_id)
        assert (await caller.run(run_id))["output"] == "/a"
        async with wire(f"{fragile.urls[1]}/v1/runs/{done.run_id}/events", fragile.headers, after="2") as stream:
            await stream.read_all()
            assert stream.events == before[2:]


async def _ask(caller: Caller, deployment: str, key: str, number: int) -> Answer | None:
    """Ask for a run, on either gateway; None when the connection broke, and nobody knows what became of it."""
    try:
        answer = await caller.start(deployment, f"t{number}", mode="async", key=key, gateway=number % 2)
    except (aiohttp.ClientError, OSError):
        return None
    return answer if answer.status == 202 else None
