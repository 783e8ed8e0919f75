"""The run of a flow that reaches outside: such nodes run beside each other, the others at once where they stand."""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from libs.flows.export.runtime.scope import Scope, first_scope
from libs.flows.export.runtime.settling import Node, RunFailure, Settled, failed, finished, is_due, outcome
from libs.runtime.failures import Failure, Retryable

_MAX_PAUSE_SECONDS = 3600.0


def side_by_side(nodes: Mapping[str, Node], given: dict[str, Any], *, timeout_seconds: float) -> Any:
    """The run's output; `nodes` stand behind their sources. Raises `RunFailure`."""
    scope = replace(first_scope(given), deadline=time.monotonic() + timeout_seconds)
    ended: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    settled: dict[str, Settled] = {}
    running: set[str] = set()
    while len(settled) < len(nodes):
        for node_id, node in nodes.items():
            if node_id in settled or node_id in running or not _is_ready(node, settled):
                continue
            if not is_due(node, settled):
                settled[node_id] = Settled()
            elif node.get("outside"):
                running.add(node_id)
                Thread(target=_carry_out, args=(node_id, node, scope, ended), daemon=True).start()
            else:
                _settle(node_id, node, _result(node, scope), scope, settled)
        if running:
            node_id, result = _next(ended, scope.deadline, timeout_seconds)
            running.remove(node_id)
            _settle(node_id, nodes[node_id], result, scope, settled)
    return outcome(nodes, settled)


def _next(ended: SimpleQueue[tuple[str, Any]], deadline: float, timeout_seconds: float) -> tuple[str, Any]:
    """The next end of a node. The attempts under way know the run's deadline too, so one may end just then."""
    with suppress(Empty):
        found = ended.get(timeout=max(0.0, deadline - time.monotonic()))
        if time.monotonic() < deadline:
            return found
    raise RunFailure("run_timeout", f"the run took longer than {timeout_seconds:g} s")


def _is_ready(node: Node, settled: Mapping[str, Settled]) -> bool:
    return all(source in settled for source, _ in node.get("after", []))


def _settle(node_id: str, node: Node, result: Any, scope: Scope, settled: dict[str, Settled]) -> None:
    """`result` is the node's output or what it raised."""
    if isinstance(result, Failure):
        settled[node_id] = failed(node_id, node, result)
    elif isinstance(result, BaseException):
        raise result
    else:
        settled[node_id] = finished(node, result)
    scope.outputs[node_id] = settled[node_id].output


def _result(node: Node, scope: Scope) -> Any:
    try:
        return node["run"](scope)
    except Failure as failure:
        return failure


def _carry_out(node_id: str, node: Node, scope: Scope, ended: SimpleQueue[tuple[str, Any]]) -> None:
    """A thread's work: the attempts at one node; whatever comes of them is told to `ended`."""
    own = replace(scope, idempotency_key=f"{scope.run['id']}:{node_id}")
    try:
        ended.put((node_id, _attempts(node, own)))
    except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
        ended.put((node_id, error))


def _attempts(node: Node, scope: Scope) -> Any:
    """Attempts until one succeeds or none is left, each within the node's own time."""
    seconds = node.get("timeout_seconds", math.inf)
    failures = 0
    while True:
        deadline = time.monotonic() + seconds
        try:
            return node["run"](replace(scope, deadline=min(deadline, scope.deadline)))
        except Retryable as failure:
            if failure.code == "node_timeout" and time.monotonic() >= deadline:
                failure = Retryable("node_timeout", f"the node took longer than {seconds:g} s")
            failures += 1
            if failures >= node.get("attempts", 1):
                raise failure from None
            backoff = node.get("backoff_seconds", 1.0) * 2.0 ** (failures - 1)
            time.sleep(min(max(backoff, failure.after or 0.0), _MAX_PAUSE_SECONDS))
