"""A caller who has just done something finds it: a table is waited for until it has come as far as the log was."""

import asyncio
from collections.abc import Iterable

import asyncpg
import msgspec

from libs.events.broker import Broker
from libs.events.subjects import HURRY
from libs.events.topology import api
from services.gateway.read_models.positions import list_positions

_WAIT_SECONDS = 1.0
_LOOK_SECONDS = 0.01


class _State(msgspec.Struct, frozen=True):
    last_seq: int = 0


class _StreamInfo(msgspec.Struct, frozen=True):
    state: _State = _State()


async def catch_up(broker: Broker, pool: "asyncpg.Pool[asyncpg.Record]", reading: str, streams: Iterable[str]) -> None:
    """Wait, for a second at most, until `reading` has all that the streams hold now."""
    names = list(streams)
    infos = await asyncio.gather(*[api(broker, f"STREAM.INFO.{name}", {}, _StreamInfo) for name in names])
    wanted = {name: info.state.last_seq for name, info in zip(names, infos, strict=True)}
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        async with pool.acquire() as connection:
            reached = await list_positions(connection, reading)
        if all(reached.get(name, 0) >= sequence for name, sequence in wanted.items()):
            return
        broker.send(HURRY)
        await asyncio.sleep(_LOOK_SECONDS)
