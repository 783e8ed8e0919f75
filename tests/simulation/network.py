"""How messages travel: late, sometimes out of order, sometimes not at all; and whether the other side knows."""

import random
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING

import msgspec

from libs.events.wire import Heard, Listener
from tests.simulation.loop import VirtualLoop

if TYPE_CHECKING:
    from tests.simulation.server import Connection

_INSTANT = 1e-6


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """What may befall one message, as probabilities."""

    lost: float = 0.0
    late: float = 0.0
    """To arrive seconds later than usual, and after others that were sent later."""
    late_seconds: float = 3.0
    refused: float = 0.0
    """An append to be refused without a rival, as a replicated stream does now and then."""
    usual_seconds: float = 0.002


CALM = Weather()


class Network:
    """All connections."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, weather: Weather) -> None:
        self.loop = loop
        self.weather = weather
        self.context = Context()
        self._chance = chance

    def bring(self, connection: "Connection", call: Listener, message: Heard) -> None:
        """From the server to a process."""
        if not connection.open or self._lost():
            return
        life, (when, connection.last_out) = connection.life, self._arrival(connection.last_out)
        connection.process.call_at(when, _arrive, connection, life, call, message)

    def take(self, connection: "Connection", call: Callable[[], None], *, surely: bool = False) -> None:
        """From a process to the server. `surely`: what is part of the connection, and not a message in it."""
        if not surely and self._lost():
            return
        life, (when, connection.last_in) = connection.life, self._arrival(connection.last_in)

        def arrived() -> None:
            # What was sent before a connection broke may have arrived all the same.
            if connection.life == life or self._chance.random() < 0.5:
                call()

        self.loop.call_at(when, arrived, context=self.context)

    def refuses_without_reason(self) -> bool:
        """Whether an append is refused now that should not be."""
        return self._chance.random() < self.weather.refused

    def seconds(self) -> float:
        """How long one message takes."""
        return self._chance.expovariate(1.0 / self.weather.usual_seconds)

    def _lost(self) -> bool:
        return self.weather.lost > 0.0 and self._chance.random() < self.weather.lost

    def _arrival(self, last: float) -> tuple[float, float]:
        """When a message arrives, and what later ones of the connection have to come after."""
        now = self.loop.time()
        if self.weather.late > 0.0 and self._chance.random() < self.weather.late:
            return now + self._chance.uniform(0.0, self.weather.late_seconds), last
        when = max(now + self.seconds(), last + _INSTANT)
        return when, when


def _arrive(connection: "Connection", life: int, call: Listener, message: Heard) -> None:
    if connection.life == life:
        call(message)
