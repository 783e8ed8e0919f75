"""Group commit: runs that are asked for at the same moment lie in the log together, in one message.

An append costs the server, and everybody who reads it, nearly the same for one run as for twenty. So a gateway under
load stores the requests of runs that need no more than their own append as one message, and the executor that takes
it stores their ends as another. A group has its subject as a run does, and the same comparison guards it: what is
appended to it follows its last message, so that an executor that was thought dead is refused. In a group's messages
lies, for each run, the very append that the run would have by itself; a run's id names its group.

    requested   the appends that ask for its runs
    progress    which runs have left it so far, for whatever becomes of them is appended to their own subjects
    ended       the ends of those that came through together; whoever is not among them has left it

A run leaves before anything but such an end is said of it: it is cancelled, a node of it fails, it was taken over from
an executor that died. From then on it is a run like any other, and its own first append follows none.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from libs.events.reads import Stored
from libs.events.subjects import Kind, RunKey, group_of, is_group, member_id, parse_run_subject, suffix_of


class Part(msgspec.Struct, frozen=True, gc=False):
    """What a message of the log says of one run: the payload is an encoded `Append`."""

    run: RunKey
    kind: Kind
    subject: str
    """Where the append would lie if it were by itself."""
    payload: bytes


class _Group(msgspec.Struct, frozen=True):
    runs: list[str]
    appends: list[msgspec.Raw]
    left: list[str] = []


class _Left(msgspec.Struct, frozen=True):
    left: list[str] = []


_decoder = msgspec.json.Decoder(_Group)
_left_decoder = msgspec.json.Decoder(_Left)


def entry_of(run: RunKey) -> RunKey:
    """What the run was asked for under: its group, or itself."""
    group = group_of(run.run_id)
    return run if group is None else RunKey(run.workspace, group)


def encode_group(appends: Mapping[str, bytes], left: Iterable[str] = ()) -> bytes:
    """The payload of a group's message: encoded appends by run id, and the ids of the runs that have left."""
    runs = '","'.join([suffix_of(run_id) for run_id in appends])
    head = f'{{"runs":["{runs}"],"appends":[' if appends else '{"runs":[],"appends":['
    gone = msgspec.json.encode([suffix_of(run_id) for run_id in left])
    return b"".join((head.encode(), b",".join(appends.values()), b'],"left":', gone, b"}"))


def parts_of(subject: str, payload: bytes) -> Iterator[Part]:
    """What a message says, run by run: one part, or of a group's message one for each run in it."""
    key, kind = parse_run_subject(subject)
    if not is_group(key.run_id):
        yield Part(key, kind, subject, payload)
        return
    group = _decoder.decode(payload)
    head = subject[: -len(key.run_id) - len(kind) - 1]
    for suffix, append in zip(group.runs, group.appends, strict=True):
        run_id = member_id(key.run_id, suffix)
        yield Part(RunKey(key.workspace, run_id), kind, f"{head}{run_id}.{kind}", bytes(append))


def part_of(run: RunKey, message: Stored | None) -> Stored | None:
    """The message as the run's own: of a group's the run's part, None where it has none."""
    if message is None:
        return None
    head, _, kind = message.subject.rpartition(".")
    head, _, entry = head.rpartition(".")
    if entry == run.run_id:
        return None if is_group(entry) else message
    group, suffix = _decoder.decode(message.payload), suffix_of(run.run_id)
    if suffix not in group.runs:
        return None
    payload = bytes(group.appends[group.runs.index(suffix)])
    return Stored(sequence=message.sequence, subject=f"{head}.{run.run_id}.{kind}", payload=payload)


def left_of(group: RunKey, message: Stored) -> list[str]:
    """The ids of the runs that had left a group by one of its messages, as far as that says so."""
    return [member_id(group.run_id, suffix) for suffix in _left_decoder.decode(message.payload).left]
