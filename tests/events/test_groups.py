"""Groups without a server: what ids say, and what lies in a group's messages."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.events.groups import encode_group, entry_of, left_of, part_of, parts_of
from libs.events.log import EventLog
from libs.events.reads import Stored
from libs.events.run_events import encode_append
from libs.events.subjects import (
    Kind,
    RunKey,
    group_of,
    is_group,
    member_id,
    new_group_id,
    run_subject,
    shard_of,
    suffix_of,
)
from libs.runtime.ids import derived_id, new_id, pair
from tests.events.grouped import ends_of, members, requests_of
from tests.events.runs import completed, requested, said

SHARD = 3
PLAIN = "run_01k9zz3f5v8q2m4n6p7r8s9t0v"
_ODD = ['"', "\\", "{}", "}],", '"],"appends":[', '","left":["00"]}', "\u2028", "🚏", "\0"]
"""What would break a message that was put together carelessly."""


def stored(entry: RunKey, kind: Kind, payload: bytes) -> Stored:
    """A message as it is read."""
    return Stored(sequence=7, subject=run_subject(SHARD, entry, kind), payload=payload)


@pytest.mark.parametrize("number", [0, 1, 15, 1023])
def test_a_members_id_names_its_group_and_its_place_in_it(number: int) -> None:
    group = new_group_id()
    run_id = member_id(group, pair(number))
    assert (group_of(run_id), suffix_of(run_id), len(run_id)) == (group, pair(number), 32)
    assert is_group(group)
    assert not is_group(run_id)


@pytest.mark.parametrize("run_id", [PLAIN, derived_id("run", "a", "b"), f"grp_{PLAIN[4:]}", f"key_{'0' * 28}", "run_1"])
def test_an_id_of_another_form_has_no_group(run_id: str) -> None:
    assert group_of(run_id) is None
    assert entry_of(RunKey("ws_1", run_id)) == RunKey("ws_1", run_id)


def test_a_run_was_asked_for_under_its_group_in_its_own_workspace() -> None:
    (run,) = members("ws_1", 1)
    assert entry_of(run) == RunKey("ws_1", group_of(run.run_id) or "")


@pytest.mark.parametrize("shards", [1, 4, 7])
def test_a_member_lies_in_the_stream_of_its_group(shards: int) -> None:
    for _ in range(50):
        group = new_group_id()
        assert {shard_of(run.run_id, shards) for run in members("ws_1", 3, group)} == {shard_of(group, shards)}


@pytest.mark.parametrize("run_id", [f"run_{'0' * 28}", f"run_{'-' * 28}", f"run_{'Z_' * 14}", f"{PLAIN}zz"])
async def test_an_id_that_only_looks_like_a_members_is_of_no_run(log: EventLog, workspace: str, run_id: str) -> None:
    run = RunKey(workspace, run_id)
    assert group_of(run_id) is not None
    assert await log.first(run) is None
    assert await log.end(run) is None
    assert await log.newest(run) is None
    assert await log.read(run) == []


def test_each_part_is_the_append_that_its_run_would_have_by_itself() -> None:
    runs = members("ws_1", 3)
    message = stored(entry_of(runs[0]), Kind.REQUESTED, requests_of(runs))
    parts = list(parts_of(message.subject, message.payload))
    assert [part.run for part in parts] == runs
    assert [part.payload for part in parts] == [encode_append(requested(run)) for run in runs]
    assert [part.subject for part in parts] == [run_subject(SHARD, run, Kind.REQUESTED) for run in runs]
    assert {part.kind for part in parts} == {Kind.REQUESTED}


def test_a_message_of_a_run_by_itself_is_its_own_only_part() -> None:
    for run in (RunKey("ws_1", new_id("run")), *members("ws_1", 1)):
        message = stored(run, Kind.PROGRESS, encode_append(said(run, 2)))
        (part,) = parts_of(message.subject, message.payload)
        assert (part.run, part.kind) == (run, Kind.PROGRESS)
        assert (part.subject, part.payload) == (message.subject, message.payload)
        assert part_of(run, message) == message


def test_the_part_of_a_run_is_its_own_message_in_its_groups_place() -> None:
    runs = members("ws_1", 3)
    message = stored(entry_of(runs[0]), Kind.ENDED, ends_of(runs))
    for run in runs:
        own = Stored(sequence=7, subject=run_subject(SHARD, run, Kind.ENDED), payload=encode_append(completed(run, 2)))
        assert part_of(run, message) == own


def test_a_run_has_no_part_where_the_group_says_nothing_of_it() -> None:
    one, other, nobody = members("ws_1", 3)
    assert part_of(nobody, stored(entry_of(one), Kind.ENDED, ends_of([one, other]))) is None
    assert part_of(nobody, stored(entry_of(one), Kind.PROGRESS, encode_group({}, [nobody.run_id]))) is None
    assert part_of(nobody, None) is None


@pytest.mark.parametrize("kind", [Kind.REQUESTED, Kind.PROGRESS, Kind.ENDED])
def test_a_group_is_no_run(kind: Kind) -> None:
    runs = members("ws_1", 2)
    assert part_of(entry_of(runs[0]), stored(entry_of(runs[0]), kind, ends_of(runs))) is None


def test_who_has_left_is_said_and_has_no_part() -> None:
    one, other, third = members("ws_1", 3)
    group = entry_of(one)
    message = stored(group, Kind.PROGRESS, encode_group({}, [one.run_id, third.run_id]))
    assert left_of(group, message) == [one.run_id, third.run_id]
    assert list(parts_of(message.subject, message.payload)) == []
    assert left_of(group, stored(group, Kind.ENDED, ends_of([other]))) == []


_TEXTS = st.text() | st.sampled_from(_ODD)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=8,
)


@given(appends=st.lists(_VALUES, max_size=16), left=st.sets(st.integers(0, 1023), max_size=16))
def test_what_is_put_together_comes_apart_byte_for_byte(appends: list[object], left: set[int]) -> None:
    group = RunKey("ws_1", new_group_id())
    encoded = {member_id(group.run_id, pair(n)): msgspec.json.encode(append) for n, append in enumerate(appends)}
    gone = [member_id(group.run_id, pair(number)) for number in left]
    message = stored(group, Kind.REQUESTED, encode_group(encoded, gone))
    assert {part.run.run_id: part.payload for part in parts_of(message.subject, message.payload)} == encoded
    assert left_of(group, message) == gone
    for run_id, payload in encoded.items():
        part = part_of(RunKey("ws_1", run_id), message)
        assert part is not None
        assert part.payload == payload


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"runs":["00"],"appends":[]}', b'{"runs":"00","appends":[1]}'])
def test_what_is_no_message_of_a_group_is_an_error_that_readers_expect(payload: bytes) -> None:
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        list(parts_of(run_subject(SHARD, RunKey("ws_1", new_group_id()), Kind.REQUESTED), payload))
