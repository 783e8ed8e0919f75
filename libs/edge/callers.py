"""Who calls: the key in a request's headers, and whose it is, mostly from memory.

How a verification that is kept is known to be still true: every auth process announces a change of a key or a
workspace after it has taken it, thus after each answer that it gave without the change. Hence two rules. An
announcement drops what it concerns, and all refusals. An answer that was on its way while anything was announced is
used but not kept, for it may be from before. Announcements come over core NATS, which loses none while the
connection stands; after a reconnect everything is dropped, and without a connection nothing that is kept is used.
Besides, nothing is kept for longer than 30 seconds (a refusal: 5), nor beyond the end of the key itself.
"""

import asyncio
import hashlib
from collections import OrderedDict
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import msgspec
from multidict import MultiMapping
from nats.aio.subscription import Subscription

from libs.edge.problems import Code, Detail, Problem
from libs.events.auth_calls import (
    CHANGED,
    UNKNOWN_KEY,
    VERIFY,
    Changed,
    Granted,
    Principal,
    Refused,
    Verify,
    is_key_shaped,
)
from libs.events.broker import Broker, Msg, Unavailable
from libs.events.subjects import parse_managed_subject
from libs.runtime.failures import Terminal

KEPT_SECONDS = 30.0
REFUSAL_KEPT_SECONDS = 5.0
MAX_KEPT = 10_000

_ATTEMPT_SECONDS = 1.0
_PATIENCE_SECONDS = 2.5
_PAUSE_SECONDS = 0.1
"""A verification changes nothing, so it is asked again: a restart of auth, or of its connection, is waited out."""

T = TypeVar("T")

_changed_decoder = msgspec.json.Decoder(Changed)


class Refusal(Terminal):
    """Auth refuses: the key is not valid, or may not do this, or what was asked for does not fit."""

    def __init__(self, code: str, message: str, pointer: str | None = None) -> None:
        super().__init__(code, message)
        self.pointer = pointer

    def problem(self) -> Problem:
        """The refusal as an HTTP caller is told it."""
        errors = [] if self.pointer is None else [Detail(pointer=self.pointer, detail=self.message)]
        return Problem(cast(Code, self.code), self.message[:1].upper() + self.message[1:] + ".", errors)


class _Kept(msgspec.Struct, frozen=True, gc=False):
    until: float
    principal: Principal


class _Flight(msgspec.Struct, frozen=True):
    """A verification under way, shared by all who want it and began before the same announcement."""

    announcements: int
    task: asyncio.Task[Principal]


class Callers:
    """Verifies keys. `async with`: it listens to announcements while it is entered."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._flights: dict[bytes, _Flight] = {}
        self._announcements = 0
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self._broker.subscribe(CHANGED, self._on_changed)
        self._broker.on_reconnect(self.forget)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broker.forget_reconnect(self.forget)
        if self._subscription is not None:
            await self._broker.unsubscribe(self._subscription)
        flights = [flight.task for flight in self._flights.values()]
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    @staticmethod
    def key_of(headers: MultiMapping[str]) -> str | None:
        """The key that the headers hold: `Authorization: Bearer …`, `X-API-Key` or `api-key`; None: there is none.

        `headers` ignore case, as aiohttp's do. Refusal `unauthorized` where two of them differ.
        """
        keys = {value.strip() for name in ("X-API-Key", "api-key") for value in headers.getall(name, ())}
        for value in headers.getall("Authorization", ()):
            scheme, _, credentials = value.strip().partition(" ")
            if scheme.lower() == "bearer":
                keys.add(credentials.strip())
        keys.discard("")
        if len(keys) > 1:
            raise Refusal("unauthorized", "the request's headers hold two API keys that differ")
        return keys.pop() if keys else None

    async def verify(self, key: str) -> Principal:
        """On whose behalf the holder of `key` acts. Refusal `unauthorized`; Unavailable where auth does not answer."""
        if not is_key_shaped(key):
            raise _unknown()
        digest = hashlib.sha256(key.encode()).digest()
        if self._broker.connected:
            now = monotonic()
            kept = self._kept.get(digest)
            if kept is not None and kept.until > now:
                self._kept.move_to_end(digest)
                return kept.principal
            if self._refused.get(digest, 0.0) > now:
                raise _unknown()
        return await asyncio.shield(self._flight(key, digest))

    def forget(self) -> None:
        """Drop everything that is kept, also what is on its way."""
        self._announcements += 1
        self._kept.clear()
        self._refused.clear()

    def _flight(self, key: str, digest: bytes) -> asyncio.Task[Principal]:
        flight = self._flights.get(digest)
        if flight is None or flight.announcements != self._announcements:
            flight = _Flight(self._announcements, asyncio.create_task(self._fetch(key, digest)))
            self._flights[digest] = flight
            flight.task.add_done_callback(lambda task: self._landed(digest, task))
        return flight.task

    def _landed(self, digest: bytes, task: asyncio.Task[Principal]) -> None:
        flight = self._flights.get(digest)
        if flight is not None and flight.task is task:
            del self._flights[digest]
        if not task.cancelled():
            task.exception()  # seen here, for those who waited may all have gone

    async def _fetch(self, key: str, digest: bytes) -> Principal:
        announcements = self._announcements
        try:
            principal = await self._ask(Verify(key=key))
        except Refusal as refusal:
            if refusal.code == "unauthorized" and announcements == self._announcements:
                _keep(self._refused, digest, monotonic() + REFUSAL_KEPT_SECONDS)
            raise
        if announcements == self._announcements:
            _keep(self._kept, digest, _Kept(monotonic() + _seconds(principal), principal))
        return principal

    async def _ask(self, verify: Verify) -> Principal:
        deadline = monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await ask(self._broker, VERIFY, verify, Principal, _ATTEMPT_SECONDS)
            except Unavailable:
                if monotonic() + _PAUSE_SECONDS > deadline:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _on_changed(self, message: Msg) -> None:
        try:
            subject = _changed_decoder.decode(message.data).subject
        except msgspec.DecodeError:
            subject = None
        if subject is None:
            self.forget()
            return
        self._announcements += 1
        self._refused.clear()
        workspace, entity, thing = parse_managed_subject(subject)
        for digest, kept in list(self._kept.items()):
            principal = kept.principal
            if principal.workspace == workspace and (entity == "workspace" or principal.key_id == thing):
                del self._kept[digest]


async def ask(broker: Broker, subject: str, request: object, answer: type[T], timeout: float) -> T:
    """One request to auth. Refusal where it says no; Unavailable where it cannot answer, or does not."""
    message = await broker.request(subject, msgspec.json.encode(request), timeout=timeout)
    expected: Any = Granted[answer] | Refused  # type: ignore[valid-type]  # a type made of an argument
    outcome: Granted[T] | Refused = msgspec.json.decode(message.data, type=expected)
    if isinstance(outcome, Granted):
        return outcome.answer
    if outcome.code == "unavailable":
        raise Unavailable(outcome.message)
    raise Refusal(outcome.code, outcome.message, outcome.pointer)


def _keep(kept: OrderedDict[bytes, T], digest: bytes, value: T) -> None:
    kept[digest] = value
    if len(kept) > MAX_KEPT:
        kept.popitem(last=False)


def _seconds(principal: Principal) -> float:
    if principal.valid_until is None:
        return KEPT_SECONDS
    return min(KEPT_SECONDS, (principal.valid_until - datetime.now(UTC)).total_seconds())


def _unknown() -> Refusal:
    return Refusal("unauthorized", UNKNOWN_KEY)
