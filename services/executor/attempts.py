"""Attempts at nodes that reach outside or read files: one at a time a node, each on the log before it begins."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from libs.flows import AnyNode, Scope
from libs.runtime.failures import Retryable
from services.executor import saying
from services.executor.deltas import Deltas
from services.executor.effects import Performed, Performer
from services.executor.journal import Journal
from services.executor.resources import Resources

_MAX_PAUSE_SECONDS = 3600.0


class Attempts:
    """The attempts of one run. `scope` is what a node may read when its attempt begins."""

    def __init__(
        self, journal: Journal, performer: Performer, resources: Resources, scope: Callable[[AnyNode], Scope]
    ) -> None:
        self._journal = journal
        self._performer = performer
        self._resources = resources
        self._scope = scope

    async def attempt(self, node: AnyNode) -> Performed:
        """The next attempt at a node. Raises its Failure.

        Away where a file cannot be read now: the run is then handed back, for that is no fault of the node's.
        """
        known = self._journal.state.nodes.get(node.id)
        saying.node_started(self._journal, node.id, known.attempt + 1 if known else 1)
        await self._journal.flush()
        deltas = Deltas(self._journal, node.id)
        try:
            async with asyncio.timeout(node.timeout_seconds) as limit:
                return await self._perform(node, deltas)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"the node took longer than {node.timeout_seconds:g} s"
            raise Retryable("node_timeout", message) from None
        finally:
            await deltas.close()

    async def _perform(self, node: AnyNode, deltas: Deltas) -> Performed:
        if node.effects:
            return await self._performer.perform(node, self._scope(node), self._resources.run.workspace, deltas.say)
        await self._resources.read_files(node)
        return Performed(output=node.evaluate(self._scope(node)), usage=None)


def retry_at(node: AnyNode, failures: int, failure: Retryable, now: datetime) -> datetime | None:
    """When a node that has failed for the `failures`th time is tried again; None: it is not.

    After what the other side asked for, else after the node's backoff, doubled each time.
    """
    if failures >= node.retry.max_attempts:
        return None
    backoff = node.retry.backoff_seconds * 2.0 ** (failures - 1)
    return now + timedelta(seconds=min(max(backoff, failure.after or 0.0), _MAX_PAUSE_SECONDS))
