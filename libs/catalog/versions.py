"""A flow version never changes, so it is read and compiled once a process and kept while it is used."""

import asyncio
from collections import OrderedDict

from libs.events.broker import Broker
from libs.events.managed import read_version
from libs.flows import CompiledFlow, compile_flow, load

_KEPT = 1024
_PAUSE_SECONDS = 0.05
_PATIENCE_SECONDS = 2.0
"""A version is asked for by who was told of it, but in a cluster a replica answers that may be a moment behind."""

Place = tuple[str, str, int]
"""Workspace, flow id, version."""


class UnknownVersion(Exception):
    """The log has no such version of this flow."""


class Versions:
    """Compiled flows by workspace, flow and version; the 1,024 used last are kept."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._compiled: OrderedDict[Place, CompiledFlow] = OrderedDict()
        self._loading: dict[Place, asyncio.Task[CompiledFlow]] = {}

    async def get(self, workspace: str, flow_id: str, version: int) -> CompiledFlow:
        """The compiled flow. UnknownVersion, or Unavailable while the log cannot be read."""
        place = (workspace, flow_id, version)
        found = self._compiled.get(place)
        if found is not None:
            self._compiled.move_to_end(place)
            return found
        loading = self._loading.get(place)
        if loading is None:
            loading = self._loading[place] = asyncio.create_task(self._load(place))
            loading.add_done_callback(lambda done: self._loaded(place, done))
        return await asyncio.shield(loading)

    def _loaded(self, place: Place, loading: asyncio.Task[CompiledFlow]) -> None:
        self._loading.pop(place, None)
        if not loading.cancelled():
            loading.exception()  # asked for here: whoever waited for it may have been cut off

    async def _load(self, place: Place) -> CompiledFlow:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_SECONDS
        while (stored := await read_version(self._broker, *place)) is None:
            if loop.time() > deadline:
                raise UnknownVersion
            await asyncio.sleep(_PAUSE_SECONDS)
        compiled = compile_flow(load(stored.document))
        self._compiled[place] = compiled
        while len(self._compiled) > _KEPT:
            self._compiled.popitem(last=False)
        return compiled
