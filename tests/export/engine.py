"""A flow as the service runs it, without the log: the engine's scheduler, the executor's own effects."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from libs.egress import Egress, Policy
from libs.flows import (
    AnyNode,
    CompiledFlow,
    Frontier,
    InvalidInput,
    Scope,
    Settled,
    compile_flow,
    failed,
    finished,
    load,
    outcome,
)
from libs.runtime.failures import Failure, Retryable
from libs.runtime.postgres import Database
from libs.runtime.providers import read_endpoints
from libs.storage.collections import Collections
from services.executor.effects import Performer
from services.executor.models import Models, providers
from services.executor.search import Search

_CODES = frozenset({"node_failed", "node_timeout", "egress_refused"})


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: as a process says it, or as the engine does."""

    status: int
    output: Any = None
    said: str = ""


@asynccontextmanager
async def performer(environment: Mapping[str, str]) -> AsyncIterator[Performer]:
    """The executor's performer, with this machine open to it."""
    policy = Policy.parse("127.0.0.0/8")
    async with Egress(policy) as egress:
        models = Models(providers(egress, read_endpoints(environment)))
        yield Performer(egress, models, Search(Collections(Database())))


def by_engine_alone(document: dict[str, Any], given: Any) -> Ran:
    """The run of a flow that reaches nothing outside."""
    return asyncio.run(by_engine(document, given, None))


async def by_engine(
    document: dict[str, Any], given: Any, performs: Performer | None, secrets: Mapping[str, str] | None = None
) -> Ran:
    """The run's end."""
    flow = compile_flow(load(document))
    try:
        read = flow.read_input(given, "")
    except InvalidInput as invalid:
        return Ran(status=2, said="\n".join(fault.pointer for fault in invalid.faults))
    run: dict[str, Any] = {
        "id": "run_1",
        "flow_id": None,
        "deployment_id": None,
        "version": None,
        "session_id": None,
        "metadata": {},
    }
    scope = Scope(
        outputs={},
        run={**run, "input": read},
        session={"id": None, "turns": []},
        secrets=secrets or {},
        idempotency_key="run_1:x",
        now=datetime.now(UTC),
    )
    return await _carried_out(flow, scope, performs)


async def _carried_out(flow: CompiledFlow, scope: Scope, performs: Performer | None) -> Ran:
    frontier = Frontier(flow)
    settled: dict[str, Settled] = {}
    ready = list(frontier.ready().start)
    while ready:
        node = ready.pop(0)
        try:
            ended = finished(node, await _output(node, scope, performs))
        except Failure as failure:
            code = failure.code if failure.code in _CODES else "node_failed"
            if node.on_error == "fail":
                return Ran(status=1, said=f"node {node.id}: {code}: {failure.message}\n")
            ended = failed(node, code, failure.message)
        settled[node.id] = ended
        scope.outputs[node.id] = ended.output
        steps = frontier.settle(node.id, ended)
        settled |= {node_id: Settled(status="skipped") for node_id in steps.skip}
        ready += steps.start
    return Ran(status=0, output=outcome(flow, settled))


async def _output(node: AnyNode, scope: Scope, performs: Performer | None) -> Any:
    """As the executor's `Execution` has it, but for the pauses between attempts."""
    if not node.effects:
        return node.evaluate(scope)
    assert performs is not None
    for attempt in range(1, node.retry.max_attempts + 1):
        try:
            async with asyncio.timeout(node.timeout_seconds):
                return (await performs.perform(node, scope, "ws", _unheard)).output
        except TimeoutError:
            failure: Failure = Retryable("node_timeout", f"the node took longer than {node.timeout_seconds:g} s")
        except Retryable as retryable:
            failure = retryable
        if attempt == node.retry.max_attempts:
            raise failure
    raise AssertionError("unreachable")


async def _unheard(text: str, reasoning: str) -> None:
    """Nobody listens to deltas."""
