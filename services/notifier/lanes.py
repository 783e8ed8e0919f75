"""Lanes: how many attempts a receiver may have under way, so that a slow or dead one takes nothing from the others.

Like a TCP connection, a lane begins with one attempt at a time, takes more while they go well, and halves what it
takes when one fails or is slow. A place in a lane that keeps up is waited for. Who finds none in another is told when
its turn will be by the lane's own speed, and comes back then from a timer, not from memory. A lane in trouble takes one
attempt now and then, less often the longer the trouble lasts, until one goes well: a receiver that hangs or fails holds
nobody's queue and costs next to nothing.
"""

import asyncio
from collections import OrderedDict, deque

_MAX_WINDOW = 64
_SLOW_SECONDS = 2.0
_FAST_SECONDS = 0.1
"""A receiver that answers sooner keeps up: what waits for it has its turn before anybody notices."""

_PATIENCE_SECONDS = 0.25
_PATIENCE_WITH_FAST_SECONDS = 5.0
_WEIGHT = 0.2
"""Of the newest latency in the moving average."""

_FIRST_PROBE_SECONDS = 0.25
_MAX_PROBE_SECONDS = 5.0
"""How long a lane in trouble takes no attempt after one that failed: at first, doubled with each, and at most."""

_PROBES_PER_SECOND = 200.0
_PROBES_AT_ONCE = 100.0

_MIN_TURN_SECONDS = 1.0
_MAX_TURN_SECONDS = 3600.0
_KEPT = 10_000


class Lane:
    """One receiver. Times are seconds of the event loop's clock."""

    def __init__(self) -> None:
        self.window = 1.0
        self.under_way = 0
        self._latency = 0.05
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._last_turn = 0.0
        self._troubled_since: float | None = None
        self._failures = 0
        self._closed_until = 0.0

    @property
    def in_trouble(self) -> bool:
        """Whether its last attempt failed, or takes long: who comes here waits for nothing."""
        return self._troubled_since is not None

    @property
    def may_probe(self) -> bool:
        """Whether a lane in trouble takes an attempt now."""
        return not self.under_way and asyncio.get_running_loop().time() >= self._closed_until

    @property
    def idle(self) -> bool:
        """Whether nothing is lost by forgetting it."""
        return not self.under_way and not self._waiting and self._troubled_since is None

    async def enter(self) -> bool:
        """Take a place, or False: there is none, and none will soon be. Who entered leaves."""
        if self.in_trouble and not self.may_probe:
            return False
        if self._free():
            self.under_way += 1
            return True
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(_PATIENCE_WITH_FAST_SECONDS if self._fast else _PATIENCE_SECONDS):
                return await place
        except BaseException as error:
            self._waiting = deque(each for each in self._waiting if each is not place)
            if place.done() and not place.cancelled() and place.result():
                self._pass_on()
            if isinstance(error, TimeoutError):
                return False
            raise

    def late(self) -> None:
        """An attempt under way takes long: nobody need wait for it."""
        self._trouble(is_in_it=True)

    def leave(self, seconds: float, *, well: bool) -> None:
        """Give the place back after an attempt of `seconds`."""
        self._latency += _WEIGHT * (seconds - self._latency)
        failed = not well or seconds > _SLOW_SECONDS
        self._failures = self._failures + 1 if failed else 0
        if failed:
            pause = min(_FIRST_PROBE_SECONDS * 2.0 ** min(self._failures - 1, 16), _MAX_PROBE_SECONDS)
            self._closed_until = asyncio.get_running_loop().time() + pause
        self._trouble(is_in_it=failed)
        self.window = max(1.0, self.window / 2) if failed else min(self.window + 1.0, _MAX_WINDOW)
        self._pass_on()

    def turn(self, now: float) -> float:
        """In how many seconds one that found no place may come back: each after the one before it.

        A lane that is not in trouble is expected to open as wide as it can; who comes too early is told again. Of one
        that is in trouble nobody knows when that ends: as long as it has lasted it may last, and no longer.
        """
        trouble = self._troubled_since
        pace = self._latency / (_MAX_WINDOW if trouble is None else self.window)
        longest = _MAX_TURN_SECONDS if trouble is None else _MIN_TURN_SECONDS + now - trouble
        after = max(now + _MIN_TURN_SECONDS, self._last_turn + pace)
        self._last_turn = min(after, now + min(longest, _MAX_TURN_SECONDS))
        return self._last_turn - now

    def _trouble(self, *, is_in_it: bool) -> None:
        if not is_in_it:
            self._troubled_since = None
            return
        if not self.in_trouble:
            self._troubled_since = asyncio.get_running_loop().time()
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(False)

    @property
    def _fast(self) -> bool:
        return self._latency < _FAST_SECONDS

    def _free(self) -> bool:
        return self.under_way < int(self.window)

    def _pass_on(self) -> None:
        """One left: its place, and those that the window has gained, go to who waits."""
        self.under_way -= 1
        while self._waiting and self._free():
            place = self._waiting.popleft()
            if not place.done():
                self.under_way += 1
                place.set_result(True)


class Lanes:
    """The lanes of a process by name; those in trouble or in use are kept, of the others the 10,000 used last."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, Lane] = OrderedDict()

    def get(self, name: str) -> Lane:
        """The lane of that name."""
        lane = self._lanes.setdefault(name, Lane())
        self._lanes.move_to_end(name)
        if len(self._lanes) > _KEPT:
            oldest, idle = next(iter(self._lanes.items()))
            if idle.idle:
                del self._lanes[oldest]
            else:
                self._lanes.move_to_end(oldest)
        return lane


class Probes:
    """How many attempts at receivers in trouble begin, all together: what they cost is taken from the others."""

    def __init__(self) -> None:
        self._left = float(_PROBES_AT_ONCE)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more may begin."""
        self._left = min(_PROBES_AT_ONCE, self._left + (now - self._at) * _PROBES_PER_SECOND)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
