"""How a run goes through its nodes: side by side, tried again, given up, cut off, or failing into what follows."""

from cli.ports import random_port
from tests.e2e.caller import Caller, assert_whole
from tests.e2e.flows import branches, chain, http, output, template
from tests.e2e.target import Prepared, Target

RETRY = {"max_attempts": 3, "backoff_seconds": 0.1}
UNWELL = Prepared(status=503)


async def test_independent_branches_run_at_the_same_time(caller: Caller, web: Target) -> None:
    web.answer("/a", [Prepared(after_seconds=0.5)])
    web.answer("/b", [Prepared(after_seconds=0.5)])
    nodes = [http("a", web.url("/a")), http("b", web.url("/b"))]
    answer = await caller.start(await caller.deploy(branches(*nodes, value=["{{ a.body.path }}", "{{ b.body.path }}"])))
    assert answer.body["output"] == ["/a", "/b"]
    (a,), (b,) = web.to("/a"), web.to("/b")
    assert a.ended is not None
    assert b.ended is not None
    assert max(a.began, b.began) < min(a.ended, b.ended)
    assert_whole(await caller.events(answer.run_id), ["in", "a", "b", "out"])


async def test_a_slow_branch_holds_nobody_up(caller: Caller, web: Target) -> None:
    web.hold("/slow")
    nodes = [http("slow", web.url("/slow")), http("quick", web.url("/quick")), http("next", web.url("/next"))]
    document = branches(*nodes, value="{{ next.status }}")
    document["edges"] = [e for e in document["edges"] if e != {"source": "in", "target": "next"}]
    document["edges"].append({"source": "quick", "target": "next"})
    run_id = await caller.submit(await caller.deploy(document))
    await web.received("/next")
    web.release("/slow")
    assert (await caller.ended(run_id))["output"] == 200


async def test_a_node_is_tried_again_with_the_same_key_until_it_succeeds(caller: Caller, web: Target) -> None:
    web.answer("/a", [UNWELL, UNWELL])
    answer = await caller.start(
        await caller.deploy(chain(http("a", web.url("/a"), retry=RETRY), output("{{ a.status }}")))
    )
    assert answer.body["output"] == 200
    requests = web.to("/a")
    assert len(requests) == 3
    assert {request.key for request in requests} == {f"{answer.run_id}:a"}
    events = [event for event in await caller.events(answer.run_id) if event.get("node") == "a"]
    assert [(event["type"], event["data"].get("attempt")) for event in events] == [
        ("node.started", 1),
        ("node.retrying", 1),
        ("node.started", 2),
        ("node.retrying", 2),
        ("node.started", 3),
        ("node.finished", None),
    ]
    assert requests[1].began - requests[0].began >= 0.1
    assert requests[2].began - requests[1].began >= 0.2
    assert_whole(await caller.events(answer.run_id), ["in", "a", "out"])


async def test_retry_after_is_honoured(caller: Caller, web: Target) -> None:
    web.answer("/a", [Prepared(status=429, headers={"Retry-After": "1"})])
    nodes = [http("a", web.url("/a"), retry={"max_attempts": 2, "backoff_seconds": 0}), output("{{ a.status }}")]
    answer = await caller.start(await caller.deploy(chain(*nodes)))
    first, second = web.to("/a")
    assert answer.body["output"] == 200
    assert 0.95 <= second.began - first.began < 3


async def test_a_node_that_fails_for_good_fails_the_run_and_cuts_the_other_branch_off(
    caller: Caller, web: Target
) -> None:
    web.hold("/slow")
    web.answer("/bad", [UNWELL, Prepared(status=502)])
    nodes = [http("slow", web.url("/slow")), http("bad", web.url("/bad"), retry={**RETRY, "max_attempts": 2})]
    answer = await caller.start(await caller.deploy(branches(*nodes, value="{{ bad.status }}")))
    assert answer.status == 200
    assert answer.body["status"] == "failed"
    assert answer.body["output"] is None
    assert {"node": "bad", "code": "node_failed"}.items() <= answer.body["error"].items()
    assert "502" in answer.body["error"]["message"]
    (slow,) = web.to("/slow")
    await web.closed(slow)
    assert slow.cut
    events = await caller.events(answer.run_id)
    assert_whole(events, ["in", "slow", "bad", "out"])
    assert events[-1]["data"]["error"] == answer.body["error"]
    assert len(web.to("/bad")) == 2


async def test_a_node_that_takes_too_long_fails_with_its_own_code_and_its_socket_closes(
    caller: Caller, web: Target
) -> None:
    web.hold("/a")
    deployment = await caller.deploy(chain(http("a", web.url("/a"), timeout_seconds=0.4), output("{{ a.status }}")))
    answer = await caller.start(deployment)
    (request,) = web.to("/a")
    assert (answer.body["error"]["node"], answer.body["error"]["code"]) == ("a", "node_timeout")
    assert 0.3 < await web.closed(request) - request.began < 2
    assert request.cut


async def test_a_failure_that_may_be_lived_with_reads_as_an_error_in_what_follows(caller: Caller, web: Target) -> None:
    web.answer("/a", [UNWELL])
    nodes = [
        http("a", web.url("/a"), on_error="continue"),
        template("said", "{{ a.error.code }}: {{ a.error.message }}"),
        output("{{ said.text }}"),
    ]
    answer = await caller.start(await caller.deploy(chain(*nodes)))
    assert answer.body["status"] == "completed"
    assert answer.body["output"] == "node_failed: the other side answered 503"
    assert_whole(await caller.events(answer.run_id), ["in", "a", "said", "out"])


async def test_a_run_that_takes_too_long_fails_and_every_node_has_its_end(caller: Caller, web: Target) -> None:
    web.hold("/b")
    nodes = [http("a", web.url("/a")), http("b", web.url("/b")), http("c", web.url("/c")), output("{{ c.status }}")]
    answer = await caller.start(await caller.deploy(chain(*nodes, timeout_seconds=0.8)))
    assert answer.body["status"] == "failed"
    assert answer.body["error"]["code"] == "run_timeout"
    assert 0.7 < answer.body["duration_seconds"] < 2
    (request,) = web.to("/b")
    await web.closed(request)
    assert request.cut
    assert web.to("/c") == []
    events = await caller.events(answer.run_id)
    assert_whole(events, ["in", "a", "b", "c", "out"])
    ends = {event["node"]: event["type"] for event in events if "node" in event}
    assert ends == {
        "in": "node.finished",
        "a": "node.finished",
        "b": "node.failed",
        "c": "node.skipped",
        "out": "node.skipped",
    }


async def test_a_connection_that_is_refused_is_told_as_the_nodes_failure(caller: Caller) -> None:
    nodes = [http("a", f"http://127.0.0.1:{random_port()}/"), output("{{ a.status }}")]
    answer = await caller.start(await caller.deploy(chain(*nodes)))
    assert (answer.body["error"]["node"], answer.body["error"]["code"]) == ("a", "node_failed")
