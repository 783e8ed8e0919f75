"""What became of the runs: lost, doubled, wrong. Pure: it reads what the callers, the log and the outside world saw.

Lost: an accepted run without an end, or a call that nobody ever answered. Doubled: two runs for one
`Idempotency-Key`, two ends of one run, a node begun again after it finished, a call to the outside that its log does
not know of. Wrong: another output than the input asks for, a gap in the log, an end that nobody asked for, a limit
exceeded, an answer that no caller can do anything with.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

ENDS = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}
_NODE_ENDS = ("node.finished", "node.failed", "node.skipped")

Event = dict[str, Any]


class Ask(msgspec.Struct, kw_only=True):
    """What a caller asked for and what it was told. Times are the harness's clock, in seconds since the epoch."""

    number: int
    key: str
    """Its `Idempotency-Key`, and the text that it is asked with."""
    limited: bool
    cancels: bool = False
    asked_at: float = 0.0
    answered_at: float | None = None
    run_ids: set[str] = msgspec.field(default_factory=set)
    cancelled: bool = False
    """Its cancel was answered 2xx."""
    unanswered: str | None = None
    seen: list[int] | None = None
    """The numbers of the events that its stream brought, over all its connections."""
    misled: str | None = None
    """What was wrong with an answer that told the run's end."""

    @property
    def expected(self) -> str:
        """The output that this input leads to."""
        return f"{self.key}-a-b"


class Verdict(msgspec.Struct, kw_only=True):
    """Sentences, one for each thing that is not as promised."""

    lost: list[str] = []
    doubled: list[str] = []
    wrong: list[str] = []

    @property
    def clean(self) -> bool:
        """Whether everything is as promised."""
        return not (self.lost or self.doubled or self.wrong)


def judge(
    asks: Sequence[Ask],
    histories: Mapping[str, Sequence[Event]],
    calls: Mapping[str, int],
    *,
    concurrent_runs: int,
) -> Verdict:
    """`histories` has each run's events, none for a run that the product does not know; `calls` the calls by key."""
    verdict = Verdict()
    for ask in asks:
        verdict.lost += _lost(ask, histories)
        if len(ask.run_ids) > 1:
            verdict.doubled.append(f"{ask.key}: {len(ask.run_ids)} runs for one key")
        if ask.misled:
            verdict.wrong.append(f"{ask.key}: {ask.misled}")
        for run_id in ask.run_ids:
            verdict.doubled += _doubled(run_id, histories.get(run_id, ()), calls)
            verdict.wrong += _wrong(ask, run_id, histories.get(run_id, ()))
            verdict.wrong += _hasty(run_id, histories.get(run_id, ()))
    known = {run_id for ask in asks for run_id in ask.run_ids}
    strangers = {key.partition(":")[0] for key in calls} - known
    verdict.doubled += [f"{run_id}: a run that nobody was told of" for run_id in sorted(strangers)]
    at_once = most_at_once([histories.get(r, ()) for ask in asks if ask.limited for r in ask.run_ids])
    if at_once > concurrent_runs:
        verdict.wrong.append(f"{at_once} runs at once where the limit is {concurrent_runs}")
    return verdict


def _lost(ask: Ask, histories: Mapping[str, Sequence[Event]]) -> Iterator[str]:
    if ask.unanswered:
        yield f"{ask.key}: {ask.unanswered}"
    for run_id in ask.run_ids:
        if not histories.get(run_id):
            yield f"{run_id}: accepted, and unknown"
        elif histories[run_id][-1]["type"] not in ENDS:
            yield f"{run_id}: without an end, last {histories[run_id][-1]['type']}"


def _doubled(run_id: str, events: Sequence[Event], calls: Mapping[str, int]) -> Iterator[str]:
    ends = [event["type"] for event in events if event["type"] in ENDS]
    if len(ends) > 1:
        yield f"{run_id}: {len(ends)} ends"
    for node in ("a", "pause", "b"):
        types = [event["type"] for event in events if event.get("node") == node]
        begun, made = types.count("node.started"), calls.get(f"{run_id}:{node}", 0)
        if made > begun:
            yield f"{run_id}: {made} calls of {node}, which the log has begun {begun} times"
        finished = [index for index, name in enumerate(types) if name in _NODE_ENDS]
        if finished and finished[0] != len(types) - 1:
            yield f"{run_id}: {node} went on after it had ended: {types}"


def _wrong(ask: Ask, run_id: str, events: Sequence[Event]) -> Iterator[str]:
    if not events:
        return
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        yield f"{run_id}: the log does not count 1, 2, 3 …"
    end = events[-1]
    if end["type"] not in ENDS:
        return
    if ask.seen is not None and ask.seen != [event["seq"] for event in events]:
        yield f"{run_id}: streamed {ask.seen} of {len(events)} events"
    if ask.cancelled and end["type"] != "run.cancelled":
        yield f"{run_id}: cancelled, and it {ENDS[end['type']]}"
    elif end["type"] == "run.completed" and end["data"]["output"] != ask.expected:
        yield f"{run_id}: output {end['data']['output']!r}, not {ask.expected!r}"
    elif end["type"] == "run.failed":
        yield f"{run_id}: failed: {end['data']['error']}"
    elif end["type"] == "run.cancelled" and not ask.cancels:
        yield f"{run_id}: cancelled, which nobody asked for"


def _hasty(run_id: str, events: Sequence[Event]) -> Iterator[str]:
    paused = [event for event in events if event.get("node") == "pause"]
    if paused and paused[-1]["type"] == "node.finished":
        until = datetime.fromisoformat(paused[0]["data"]["until"])
        if moment(paused[-1]) < until:
            yield f"{run_id}: its delay until {until} was over at {moment(paused[-1])}"


def most_at_once(histories: Sequence[Sequence[Event]]) -> int:
    """How many runs were between their start and their end at the same moment, at most."""
    steps: list[tuple[datetime, int]] = []
    for events in histories:
        started = next((event for event in events if event["type"] == "run.started"), None)
        if started is not None and events[-1]["type"] in ENDS:
            steps += [(moment(started), 1), (moment(events[-1]), -1)]
    most = now = 0
    for _, change in sorted(steps):
        now += change
        most = max(most, now)
    return most


def recovery_seconds(struck: Sequence[float], asks: Sequence[Ask], histories: Mapping[str, Sequence[Event]]) -> float:
    """The longest time from a fault to the end of a run, or to the answer to a call, that was under way then."""
    ended = [events for events in histories.values() if events and events[-1]["type"] in ENDS]
    spans = [(moment(events[0]).timestamp(), moment(events[-1]).timestamp()) for events in ended]
    spans += [(ask.asked_at, ask.answered_at) for ask in asks if ask.answered_at is not None]
    return max((end - at for at in struck for begin, end in spans if begin <= at < end), default=0.0)


def broken_off(
    broken: Sequence[tuple[str, float]], asks: Sequence[Ask], histories: Mapping[str, Sequence[Event]]
) -> Iterator[str]:
    """The calls that ended without an answer although their run was on the log by then."""
    by_key = {ask.key: ask for ask in asks}
    for key, at in broken:
        for run_id in by_key[key].run_ids if key in by_key else ():
            if histories.get(run_id) and moment(histories[run_id][0]).timestamp() < at:
                yield f"{run_id}: its call was taken and broken off"


def moment(event: Event) -> datetime:
    """When an event happened."""
    return datetime.fromisoformat(event["at"])
