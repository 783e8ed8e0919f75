"""The log: append with compare-and-set, and read what was appended.

One append is one JetStream message with one or more events of a run. It carries the stream sequence of the
run's last message (0: none yet), and the server refuses it when that is not so. This makes acceptance
idempotent and fences an executor that was thought dead: its append is refused, and it stops. How it is stored, also
when its acknowledgement is lost, is in `appends`; what runs that were asked for together have in common, in `groups`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from libs.events.appends import Conflict, append_message
from libs.events.broker import Broker, Unavailable
from libs.events.group_reads import GroupReads
from libs.events.groups import encode_group, entry_of, left_of, part_of
from libs.events.live import Live
from libs.events.reads import (
    Stored,
    ask_leader,
    confirmed_none,
    counts,
    last_message,
    newest_message,
    read_part,
    read_range,
    stored,
)
from libs.events.run_events import Append, RunEvent, decode_append, encode_append, serve_append
from libs.events.subjects import (
    ANY,
    Kind,
    RunKey,
    group_of,
    is_group,
    parse_run_subject,
    run_subject,
    shard_in,
    shard_of,
    stream_of,
)
from libs.runtime.tracing import Span, begin

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""An append larger than this is split between its events."""

_HEADER_BYTES = 4096
"""Of a server's `max_payload`, what headers may need: it ends the connection over a message that is larger."""

_ATTEMPT_SECONDS = 2.0
_LEAVING_TRIES = 50
_LEAVING_PAUSE_SECONDS = 0.1
_MESSAGING = {"messaging.system": "nats", "messaging.operation.name": "publish"}


class TooLarge(Exception):
    """One event alone is larger than a message of the log may be."""


class EventLog:
    """The runs' streams over one connection. `shards` is what `topology.converge` answered."""

    def __init__(self, broker: Broker, shards: int) -> None:
        self.broker = broker
        self.shards = shards
        self.live = Live(broker, shards)
        self._groups = GroupReads(self._by_subject)

    def subject(self, run: RunKey, kind: Kind | str) -> str:
        """The subject of a run's appends of `kind`."""
        return run_subject(shard_of(run.run_id, self.shards), run, kind)

    def stream(self, run: RunKey) -> str:
        """The stream a run lies in."""
        return stream_of(shard_of(run.run_id, self.shards))

    async def append(
        self, run: RunKey, kind: Kind, append: Append, *, after: int, patience_seconds: float = 10.0
    ) -> int:
        """Append after the run's message with stream sequence `after` (0: the first). Answers the new sequence.

        Returns when the message is on disk. Conflict when the run has moved on; Unavailable after
        `patience_seconds` without a clear answer (it may or may not be stored); TooLarge.
        """
        payload = encode_append(append)
        if len(payload) > MAX_MESSAGE_BYTES and len(append.events) > 1:
            return await self._append_parts(run, kind, append, after, patience_seconds)
        if len(payload) > self.broker.max_payload - _HEADER_BYTES:
            raise TooLarge(f"an event of {len(payload)} bytes")
        traced = begin("append", append.trace, "PRODUCER")
        if traced is not None:
            return await self._append_traced(traced, run, kind, payload, after, patience_seconds)
        return await self.append_encoded(run, kind, payload, after=after, patience_seconds=patience_seconds)

    async def _append_traced(
        self, traced: Span, run: RunKey, kind: Kind, payload: bytes, after: int, patience_seconds: float
    ) -> int:
        size = {"messaging.message.body.size": len(payload)}
        where = {"messaging.destination.name": self.stream(run), "headgate.append.kind": str(kind)}
        traced.set({**_MESSAGING, **where, **size, "headgate.run.id": run.run_id})
        try:
            return await self.append_encoded(run, kind, payload, after=after, patience_seconds=patience_seconds)
        except BaseException as error:
            traced.fail(type(error).__name__)
            raise
        finally:
            traced.end()

    def fits(self, payload: bytes) -> bool:
        """Whether an append may be stored as it is, in one message."""
        return len(payload) <= min(MAX_MESSAGE_BYTES, self.broker.max_payload - _HEADER_BYTES)

    async def append_encoded(
        self, run: RunKey, kind: Kind, payload: bytes, *, after: int, patience_seconds: float = 10.0
    ) -> int:
        """The same for what `encode_append` made, and `fits`."""
        grouped = group_of(run.run_id) is not None
        if grouped:
            loop = asyncio.get_running_loop()
            began = loop.time()
            after = await self._after_leaving(run, after, patience_seconds)
            patience_seconds -= loop.time() - began
        return await append_message(
            self.broker,
            self.stream(run),
            self.subject(run, kind),
            payload,
            after=after,
            compare=self.subject(run, ANY) if after or grouped else None,
            patience_seconds=patience_seconds,
        )

    async def append_group(
        self, group: RunKey, kind: Kind, payload: bytes, *, after: int, patience_seconds: float = 10.0
    ) -> int:
        """The same for what `encode_group` made, and `fits`. Conflict when the group has moved on."""
        return await append_message(
            self.broker,
            self.stream(group),
            self.subject(group, kind),
            payload,
            after=after,
            compare=self.subject(group, ANY) if after else None,
            patience_seconds=patience_seconds,
        )

    async def leave(self, group: RunKey, runs: Sequence[str]) -> Stored | None:
        """Have runs leave their group, unless their ends are in it; answers its `ended` message, if it has one."""
        for _ in range(_LEAVING_TRIES):
            last = await self.last(group)
            if last is None:
                raise Unavailable("a group of runs is not in the event log")
            if parse_run_subject(last.subject)[1] is Kind.ENDED:
                return last
            left = left_of(group, last)
            missing = [run_id for run_id in runs if run_id not in left]
            if not missing:
                return None
            with suppress(Conflict):
                payload = encode_group({}, [*left, *missing])
                await self.append_group(
                    group, Kind.PROGRESS, payload, after=last.sequence, patience_seconds=_ATTEMPT_SECONDS
                )
                return None
        raise Unavailable("a group of runs moves too fast")

    async def _after_leaving(self, run: RunKey, after: int, patience_seconds: float) -> int:
        """What the next append of a run of a group follows among the run's own: none, where it leaves with that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_seconds
        while True:
            try:
                first = await self.first(run)
                if first is None or first.sequence != after:
                    return after
                end = part_of(run, await self.leave(entry_of(run), [run.run_id]))
            except Unavailable:
                if loop.time() > deadline:
                    raise
            else:
                if end is not None:
                    raise Conflict(end)
                return 0
            await asyncio.sleep(_LEAVING_PAUSE_SECONDS)

    async def _append_parts(self, run: RunKey, kind: Kind, append: Append, after: int, patience_seconds: float) -> int:
        """Half and half; only the last part has the append's own kind."""
        half = len(append.events) // 2
        first = msgspec.structs.replace(append, events=append.events[:half])
        second = msgspec.structs.replace(append, events=append.events[half:])
        after = await self.append(run, Kind.PROGRESS, first, after=after, patience_seconds=patience_seconds)
        return await self.append(run, kind, second, after=after, patience_seconds=patience_seconds)

    async def first(self, run: RunKey) -> Stored | None:
        """The message that asked for the run; None when there is no such run."""
        if (group := group_of(run.run_id)) is not None:
            return await self._first_of(RunKey(run.workspace, group), run)
        if is_group(run.run_id):
            return None  # it is in the ids of its runs, so callers may ask for it, and it is no run
        kinds = (Kind.REQUESTED, Kind.HELD)
        for kind in kinds:
            if (found := await self._direct(run, kind)) is not None:
                return found
        return await confirmed_none(self.broker, self.stream(run), *[self.subject(run, kind) for kind in kinds])

    async def _first_of(self, group: RunKey, run: RunKey) -> Stored | None:
        subject = self.subject(group, Kind.REQUESTED)
        found = await self._groups.part(subject, run)
        return found or part_of(run, await confirmed_none(self.broker, self.stream(run), subject))

    async def end(self, run: RunKey) -> Stored | None:
        """The message with the run's end; None while it goes on."""
        found = await self._end_as_any_has_it(run)
        return found or part_of(run, await confirmed_none(self.broker, self.stream(run), *self._ends(run)))

    def _ends(self, run: RunKey) -> list[str]:
        """Where the end of a run may lie: on its own subject, or on its group's."""
        return [self.subject(place, Kind.ENDED) for place in dict.fromkeys((run, entry_of(run)))]

    async def _end_as_any_has_it(self, run: RunKey) -> Stored | None:
        for together in self._ends(run)[1:]:
            if (found := await self._groups.part(together, run)) is not None:
                return found
        return await self._direct(run, Kind.ENDED)

    async def last(self, run: RunKey) -> Stored | None:
        """The last message of a run's own, or of a group's, from the stream's leader: what an append must follow."""
        return await last_message(self.broker, self.stream(run), self.subject(run, ANY))

    async def read(self, run: RunKey) -> list[Stored]:
        """All messages of the run, oldest first; empty when there is no such run.

        Exact reads of its first and its last message, then of one between them, and a scan from the first on where
        it has more than those: a scan looks at what the stream holds of others, and costs the more of them there are.
        """
        first, end = await asyncio.gather(self.first(run), self._end_as_any_has_it(run))
        if first is None:
            return []
        if end is not None and follows_directly(first, end):
            return [first, end]
        between = await self._direct(run, Kind.PROGRESS)
        messages = [message for message in (first, between, end) if message is not None]
        if not all(map(follows_directly, messages, messages[1:])):
            messages = [first, *await self.scan(run, first.sequence + 1)]
        return await self._up_to_date(run, messages) if self.broker.replicated else messages

    async def _up_to_date(self, run: RunKey, messages: list[Stored]) -> list[Stored]:
        """The messages with those that only the leader has yet: as many as it counts.

        Of a run that waited for a slot the request is read, which says again what was held.
        """
        stream, subject = self.stream(run), self.subject(run, ANY)
        there = await counts(self.broker, stream, subject)
        if messages[0].subject == self.subject(run, Kind.REQUESTED):
            there.pop(self.subject(run, Kind.HELD), None)
        own = len(messages) - (group_of(run.run_id) is not None)
        for _ in range(own, sum(there.values())):
            wanted = {"seq": messages[-1].sequence + 1, "next_by_subj": subject}
            found = await ask_leader(self.broker, stream, wanted)
            if found is None:
                raise Unavailable("the event log's leader has less than it said")
            messages.append(found)
        if len(messages) == 1:
            together = self._ends(run)[1:]
            end = part_of(run, await confirmed_none(self.broker, stream, *together))
            messages += [end] if end is not None else []
        return messages

    async def scan(self, run: RunKey, sequence: int) -> list[Stored]:
        """The run's messages from a stream sequence on."""
        return await read_range(self.broker, self.stream(run), self.subject(run, ANY), sequence)

    async def part(self, run: RunKey, sequence: int, messages: int, size: int) -> tuple[list[Stored], int]:
        """The same, at most so many messages and about so many bytes of them, and how many more there are."""
        stream, subject = self.stream(run), self.subject(run, ANY)
        return await read_part(self.broker, stream, subject, sequence, messages, size, timeout=_ATTEMPT_SECONDS)

    async def newest(self, run: RunKey) -> Stored | None:
        """The run's last message as any replica has it: what `last` is asked of the leader for, at less cost."""
        newest = await newest_message(self.broker, self.stream(run), self.subject(run, ANY), _ATTEMPT_SECONDS)
        if newest is None and group_of(run.run_id) is not None:
            return await self._groups.part(self.subject(entry_of(run), Kind.ENDED), run)
        return newest

    async def _direct(self, run: RunKey, kind: Kind) -> Stored | None:
        return await self._by_subject(self.subject(run, kind))

    async def _by_subject(self, subject: str) -> Stored | None:
        stream = stream_of(shard_in(subject))
        return stored(await self.broker.request(f"$JS.API.DIRECT.GET.{stream}.{subject}"))


def follows_directly(first: Stored, end: Stored) -> bool:
    """Whether the end's first event is the run's second: then nothing lies between."""
    return serve_append(end.payload)[0].seq == serve_append(first.payload)[-1].seq + 1


def events_of(messages: Sequence[Stored]) -> list[RunEvent]:
    """The events in messages of a run, in order, unknown types left out."""
    return [event for message in messages for event in decode_append(message.payload).events]
