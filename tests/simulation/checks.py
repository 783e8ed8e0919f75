"""What must be true after any seed, whatever happened in it."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

from libs.events.groups import parts_of
from libs.events.managed import Deployment, Limits, decode_change
from libs.events.run import Run, fold, run_of
from libs.events.run_events import (
    TERMINAL,
    NodeFinished,
    NodeStarted,
    RunCompleted,
    RunRequested,
    RunStarted,
    decode_append,
    serve_append,
)
from libs.events.sessions import Session
from libs.events.subjects import MANAGEMENT, SESSIONS, Kind, RunKey, parse_run_subject, session_subject
from tests.simulation.callers import Told, Watched
from tests.simulation.jetstream import Message, Stream
from tests.simulation.server import Server
from tests.simulation.world import LIMITS, NARROW, NARROW_LIMITS, SMALL

if TYPE_CHECKING:
    from tests.simulation.story import Story

Name = tuple[str, str]
"""A run's workspace and id."""


class Watch:
    """Sees each message of a run as it is stored: the limits hold at every moment."""

    def __init__(self, server: Server) -> None:
        self.runs: dict[Name, list[Message]] = defaultdict(list)
        self.faults: list[str] = []
        self.last_end = 0.0
        self._under_way: dict[str, set[Name]] = defaultdict(set)
        self._ended: set[Name] = set()
        server.on_stored.append(self._on_stored)

    def all_ended(self) -> bool:
        return len(self._ended) == len(self.runs)

    def _on_stored(self, stream: Stream, message: Message) -> None:
        if stream.name.startswith("EVENTS_"):
            for part in parts_of(message.subject, message.data):
                own = msgspec.structs.replace(message, subject=part.subject, data=part.payload)
                self._on_part(part.run, part.kind, own)

    def _on_part(self, run: RunKey, kind: Kind, message: Message) -> None:
        name = (run.workspace, run.run_id)
        self.runs[name].append(message)
        first = decode_append(self.runs[name][0].data).events[0]
        accounts = [run.workspace]
        if isinstance(first, RunRequested):
            accounts.append(f"{run.workspace}/{first.data.deployment_id}")
        if kind is Kind.REQUESTED and name not in self._ended:
            for account in accounts:
                self._under_way[account].add(name)
                self._check(account)
        if kind is Kind.ENDED:
            self._ended.add(name)
            self.last_end = message.at
            for account in accounts:
                self._under_way[account].discard(name)

    def _check(self, account: str) -> None:
        workspace, _, deployment = account.partition("/")
        limits = LIMITS[workspace]
        if deployment:
            limits = NARROW_LIMITS if (workspace, deployment) == (SMALL, NARROW) else Limits()
        allowed = limits.concurrent_runs
        if allowed is not None and len(self._under_way[account]) > allowed:
            self.faults.append(f"{len(self._under_way[account])} runs of {account} at once, of {allowed}")


def faults(story: "Story") -> list[str]:
    """Everything that is not as it must be."""
    found = list(story.watch.faults) + list(story.callers.book.faults)
    for name, messages in story.watch.runs.items():
        found += [f"{name[1]}: {fault}" for fault in _of_run(messages)]
    found += _of_callers(story)
    found += _of_visits(story)
    found += _of_sessions(story)
    found += of_directories(story)
    return found


def _of_run(messages: list[Message]) -> list[str]:
    found: list[str] = []
    served = [event for message in messages for event in serve_append(message.data)]
    kinds = [parse_run_subject(message.subject)[1] for message in messages]
    if kinds[0] is Kind.HELD and len(messages) > 1 and kinds[1] is Kind.REQUESTED:
        if messages[0].data != messages[1].data:
            found.append("it was held and asked for with different words")
        served = served[1:]
    seqs = [event.seq for event in served]
    if seqs != list(range(1, len(seqs) + 1)):
        found.append(f"its events are numbered {seqs}")
    ends = [event.seq for event in served if event.type in TERMINAL]
    if ends != [seqs[-1]]:
        found.append(f"it has {len(ends)} ends, of {len(seqs)} events; the last is {served[-1].type}")
    if (kinds[-1] is Kind.ENDED) is not (len(ends) == 1) or kinds.count(Kind.ENDED) > 1:
        found.append(f"its appends are {kinds}")
    if kinds.count(Kind.REQUESTED) > 1:
        found.append("it was asked for more than once")
    events = [event for message in messages for event in decode_append(message.data).events]
    finished: set[str] = set()
    for event in events:
        if isinstance(event, NodeStarted) and event.node in finished:
            found.append(f"{event.node} finished and was started again")
        if isinstance(event, NodeFinished):
            if event.node in finished:
                found.append(f"{event.node} finished twice")
            finished.add(event.node)
    if sum(isinstance(event, RunStarted) for event in events) > 1:
        found.append("it began twice")
    return found


def _of_callers(story: "Story") -> list[str]:
    found: list[str] = []
    book, runs = story.callers.book, story.watch.runs
    for told in book.told:
        name = (told.run.workspace, told.run.run_id)
        if name not in runs:
            found.append(f"{told.run.run_id} was accepted and is not on the log")
        elif told.status == 200:
            found += _of_answer(told, runs[name])
    by_key: dict[Name, set[str]] = defaultdict(set)
    for told in book.told:
        if told.key:
            by_key[told.run.workspace, told.key].add(told.run.run_id)
    found += [f"{key} has the runs {ids}" for key, ids in by_key.items() if len(ids) > 1]
    for workspace, ids in book.batches:
        found += [f"{each} of a batch is not on the log" for each in ids if (workspace, each) not in runs]
    for watched in book.watched:
        found += _of_stream(watched, runs[watched.run.workspace, watched.run.run_id])
    for run_id in book.cancelled:
        ends = [serve_append(m[-1].data)[-1].type for (_, each), m in runs.items() if each == run_id]
        if ends != ["run.cancelled"]:
            found.append(f"{run_id} was cancelled and ended as {ends}")
    return found


def _of_answer(told: Told, messages: list[Message]) -> list[str]:
    """A caller that waited was told what the log has."""
    run = run_of(fold([message.data for message in messages]))
    answer: Run = told.body
    if msgspec.to_builtins(answer) != msgspec.to_builtins(run):
        return [f"{run.id} was answered as {answer.status}, {answer.output!r}; it is {run.status}, {run.output!r}"]
    return []


def _of_stream(watched: Watched, messages: list[Message]) -> list[str]:
    """A follower saw what the log has, each event once, byte for byte."""
    stored = {event.seq: event for message in messages for event in serve_append(message.data)}
    expected = [event for seq, event in sorted(stored.items()) if seq > watched.after]
    if not watched.complete:
        return [f"a follower of {watched.run.run_id} never came to its end"]
    if watched.events != expected:
        return [f"a follower of {watched.run.run_id} saw {[e.seq for e in watched.events]}"]
    return []


def _of_visits(story: "Story") -> list[str]:
    """Nobody outside was called but for an attempt that is on the log, and with the key that all its attempts have."""
    found: list[str] = []
    begun: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for (_, run_id), messages in story.watch.runs.items():
        for message in messages:
            append = decode_append(message.data)
            for event in append.events:
                if isinstance(event, NodeStarted):
                    begun[f"{run_id}:{event.node}"].append((message.at, append.by))
    attempts: Counter[tuple[str, str]] = Counter()
    for visit in story.outside.visits:
        attempts[visit.key, visit.process] += 1
        stored = [at for at, by in begun[visit.key] if by == visit.process and at <= visit.at]
        if len(stored) < attempts[visit.key, visit.process]:
            found.append(f"{visit.key} was called by {visit.process}, whose attempt was not on the log")
    return found


def _of_sessions(story: "Story") -> list[str]:
    """Every run that completed is one turn of its session."""
    found: list[str] = []
    sessions = story.server.streams[SESSIONS]
    for (workspace, run_id), messages in story.watch.runs.items():
        state = fold([message.data for message in messages])
        if state.requested.session_id is None or not isinstance(state.end, RunCompleted):
            continue
        last = sessions.last_of(session_subject(workspace, state.requested.session_id, state.requested.flow_id))
        turns = msgspec.json.decode(sessions.messages[last].data, type=Session).turns if last else ()
        if sum(turn.run_id == run_id for turn in turns) != 1:
            found.append(f"{run_id} is {sum(turn.run_id == run_id for turn in turns)} turns of its session")
    return found


def of_directories(story: "Story") -> list[str]:
    """Every gateway knows the last state of everything."""
    stream = story.server.streams[MANAGEMENT]
    found: list[str] = []
    for service in story.gateways():
        for subject, sequences in stream.by_subject.items():
            state = decode_change(stream.messages[sequences[-1]].data).state
            if not isinstance(state, Deployment):
                continue
            known = service.gateway.directory.deployment(state.workspace, state.id) if service.gateway else None
            if known != state:
                found.append(f"{service.process.name} has an old state of {subject}")
    return found
