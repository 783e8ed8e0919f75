"""Every subject and stream name of Headgate is built and taken apart here, and nowhere else.

    evt.<shard>.<workspace>.<run>.<kind>       a run's appends, in stream EVENTS_<shard>
    evt.<shard>.<workspace>.<group>.<kind>     those of runs that were asked for together (`groups`), in one message
    live.evt.<shard>.<workspace>.<run>.<kind>  the same once they are stored, republished on core NATS
    mgt.<workspace>.<entity>.<id>              states of what is managed, in stream MANAGEMENT
    adm.<workspace>                            what a workspace has used of its limits, in stream LEDGERS
    ses.<workspace>.<session>.<flow>           what was said in a session, in stream SESSIONS
    cch.<workspace>.<answer>                   answers that may be given again, for a while, in stream CACHE
    dlv.<workspace>                            what became of deliveries, in stream DELIVERIES
    hlt.<workspace>.<webhook>                  since when a webhook fails, in stream ENDPOINTS
    tmr.at.<kind>.<timer>                      what is to come due at its time, in stream TIMERS
    tmr.due.<kind>.<timer>                     the same once it is due, put there by the server
    dead.<consumer>.<subject…>                 what no handler could take, in stream DEAD_LETTERS
    ans.<gateway>.<run>                        core: the end of a run, for the gateway that waits for it
    ans.<gateway>.<group>                      core: the ends of runs that came to them together
    cmd.cancel                                 core: a run was cancelled; executors stop working on it
    cmd.share                                  core: another executor is there; what waits with the others is shared
    cmd.hurry                                  core: somebody waits for a table; what is gathered is written now
    cmd.roll                                   core: who is there? every process answers
    auth.<call>                                core: requests that the auth service answers

A subject's tokens come from ids of ours or from a key's workspace, and are checked all the same: a dot or a
wildcard in one would read another workspace's events.
"""

import zlib
from enum import StrEnum

import msgspec

from libs.runtime.ids import derived_id, is_token, new_id

MANAGEMENT = "MANAGEMENT"
DEAD_LETTERS = "DEAD_LETTERS"
LEDGERS = "LEDGERS"
SESSIONS = "SESSIONS"
CACHE = "CACHE"
TIMERS = "TIMERS"
DELIVERIES = "DELIVERIES"
ENDPOINTS = "ENDPOINTS"
CANCEL = "cmd.cancel"
SHARE = "cmd.share"
HURRY = "cmd.hurry"
ROLL = "cmd.roll"
ANY = "*"

_RUN_ID_LENGTH = 30
_MEMBER_ID_LENGTH = _RUN_ID_LENGTH + 2


class Kind(StrEnum):
    """What an append is to its readers: workers want the first, webhooks and tables the last."""

    HELD = "held"
    """Asked for, and to wait for a slot: the same request follows as `requested` when there is one."""
    REQUESTED = "requested"
    PROGRESS = "progress"
    ENDED = "ended"


class RunKey(msgspec.Struct, frozen=True, gc=False):
    """Which run: its workspace, from the caller's key and never from a path, and its id."""

    workspace: str
    run_id: str


def new_group_id() -> str:
    """A fresh id for runs that are asked for together."""
    return new_id("grp")


def is_group(token: str) -> bool:
    """Whether the token that stands for a run in a subject stands for a group of them."""
    return token.startswith("grp_")


def member_id(group_id: str, suffix: str) -> str:
    """The id of a run of a group. It names the group, so that a run is found without an index."""
    return f"run_{group_id[4:]}{suffix}"


def group_of(run_id: str) -> str | None:
    """The group that the id names; None: the run was asked for by itself."""
    return "grp_" + run_id[4:_RUN_ID_LENGTH] if len(run_id) == _MEMBER_ID_LENGTH and run_id[:4] == "run_" else None


def suffix_of(run_id: str) -> str:
    """What tells a run of a group from the others of it."""
    return run_id[_RUN_ID_LENGTH:]


def shard_of(run_id: str, shards: int) -> int:
    """The stream of a run, or of a group. Fixed for the life of a log: so is the number of its streams."""
    return zlib.crc32((group_of(run_id) or run_id).encode()) % shards


def stream_of(shard: int) -> str:
    """The name of the stream that holds a shard."""
    return f"EVENTS_{shard}"


def run_subject(shard: int, run: RunKey, kind: Kind | str) -> str:
    """The subject of a run's appends of one kind, or of all with `ANY`."""
    return f"evt.{shard}.{_token(run.workspace)}.{_token(run.run_id)}.{kind}"


def live_subject(shard: int, run: RunKey) -> str:
    """Where a run's appends are heard live, after they are stored."""
    return "live." + run_subject(shard, run, ANY)


def stored_subject(live: str) -> str:
    """The subject under which lies what was heard on `live`."""
    return live.removeprefix("live.")


def parse_run_subject(subject: str) -> tuple[RunKey, Kind]:
    """The run and the kind in an `evt.` subject."""
    _, _, workspace, run_id, kind = subject.split(".")
    return RunKey(workspace, run_id), Kind(kind)


def shard_in(subject: str) -> int:
    """The shard in an `evt.` subject."""
    return int(subject.split(".", 2)[1])


def kind_filter(shard: int, kind: Kind | str) -> str:
    """All appends of one kind in a shard, or all with `ANY`."""
    return f"evt.{shard}.*.*.{kind}"


def workspace_runs_filter(shard: int, workspace: str) -> str:
    """All appends of a workspace's runs in a shard."""
    return f"evt.{shard}.{_token(workspace)}.>"


def managed_subject(workspace: str, entity: str, entity_id: str) -> str:
    """Where the states of one managed thing are, oldest to newest."""
    return f"mgt.{_token(workspace)}.{entity}.{_token(entity_id)}"


def managed_filter(entity: str) -> str:
    """All states of all things of one kind, in every workspace."""
    return f"mgt.*.{entity}.*"


def workspace_managed_filter(workspace: str) -> str:
    """All states of everything that a workspace manages."""
    return f"mgt.{_token(workspace)}.>"


def managed_anywhere(entity: str, entity_id: str) -> str:
    """The states of one thing, in whichever workspace it is."""
    return f"mgt.*.{entity}.{_token(entity_id)}"


def parse_managed_subject(subject: str) -> tuple[str, str, str]:
    """Workspace, entity and id in a `mgt.` subject."""
    _, workspace, entity, entity_id = subject.split(".")
    return workspace, entity, entity_id


def ledger_subject(workspace: str) -> str:
    """Where a workspace's ledger lies."""
    return f"adm.{_token(workspace)}"


def session_subject(workspace: str, session_id: str, flow_id: str) -> str:
    """Where a session lies; `ANY` flow finds it in whichever flow it is. Session ids are hashed: they are callers'."""
    flow = flow_id if flow_id == ANY else _token(flow_id)
    return f"ses.{_token(workspace)}.{derived_id('ses', session_id)}.{flow}"


def cache_subject(workspace: str, answer: str) -> str:
    """Where an answer lies that may be given again."""
    return f"cch.{_token(workspace)}.{_token(answer)}"


def delivery_subject(workspace: str) -> str:
    """Where the facts about a workspace's deliveries lie."""
    return f"dlv.{_token(workspace)}"


def endpoint_subject(workspace: str, webhook_id: str) -> str:
    """Where it lies how a webhook's address does."""
    return f"hlt.{_token(workspace)}.{_token(webhook_id)}"


def timer_subject(kind: str, timer_id: str) -> str:
    """Where a timer lies until it is due; there is one for an id, for the server keeps one message on it."""
    return f"tmr.at.{_token(kind)}.{_token(timer_id)}"


def due_subject(kind: str, timer_id: str) -> str:
    """Where a timer lies once it is due."""
    return f"tmr.due.{_token(kind)}.{_token(timer_id)}"


def due_filter(kind: str) -> str:
    """All timers of one kind that are due."""
    return f"tmr.due.{_token(kind)}.>"


def parse_due_subject(subject: str) -> tuple[str, str]:
    """The kind and the id in a `tmr.due.` subject."""
    _, _, kind, timer_id = subject.split(".")
    return kind, timer_id


def dead_subject(consumer: str, subject: str) -> str:
    """Where a message that `consumer` could not handle is kept."""
    return f"dead.{consumer}.{subject}"


def parse_dead_subject(subject: str) -> tuple[str, str]:
    """The consumer and the message's own subject in a `dead.` subject."""
    _, consumer, own = subject.split(".", 2)
    return consumer, own


def answer_subject(gateway: str, run_id: str) -> str:
    """Where the gateway `gateway` hears the end of a run it waits for; `ANY` run to subscribe."""
    return f"ans.{_token(gateway)}.{run_id}"


def auth_subject(call: str) -> str:
    """Where the auth service answers `call`."""
    return f"auth.{call}"


def _token(text: str) -> str:
    if not is_token(text):
        raise ValueError("a subject token may hold only A-Z a-z 0-9 _ - (at most 64)")
    return text
