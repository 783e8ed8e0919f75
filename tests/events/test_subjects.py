"""Subjects and ids: what may stand in them, and that they lead back to what they were made of."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.events import subjects
from libs.events.subjects import Kind, RunKey
from libs.runtime.ids import derived_id, is_token, new_id

TOKEN = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
BAD = ["", ".", "a.b", "*", ">", "a b", "a\r\nb", "a\n", "é", "a" * 65, "../etc", "$JS", "\x00", "run_1\u200b"]


@given(TOKEN, TOKEN, st.sampled_from(Kind), st.integers(0, 63))
def test_a_run_subject_leads_back_to_its_run(workspace: str, run_id: str, kind: Kind, shard: int) -> None:
    run = RunKey(workspace, run_id)

    subject = subjects.run_subject(shard, run, kind)

    assert subjects.parse_run_subject(subject) == (run, kind)
    assert subject.startswith(f"evt.{shard}.")
    assert subject.count(".") == 4


@given(TOKEN, TOKEN)
def test_a_managed_subject_leads_back_to_its_thing(workspace: str, thing: str) -> None:
    subject = subjects.managed_subject(workspace, "flow", thing)

    assert subjects.parse_managed_subject(subject) == (workspace, "flow", thing)


@given(st.text(max_size=80))
def test_only_tokens_enter_a_subject(text: str) -> None:
    if is_token(text):
        assert subjects.run_subject(0, RunKey(text, "run"), Kind.ENDED) == f"evt.0.{text}.run.ended"
    else:
        with pytest.raises(ValueError, match="token"):
            subjects.run_subject(0, RunKey(text, "run"), Kind.ENDED)


@pytest.mark.parametrize("bad", BAD)
def test_what_would_reach_other_subjects_is_refused(bad: str) -> None:
    builds: tuple[Callable[[], str], ...] = (
        lambda: subjects.run_subject(0, RunKey(bad, "run"), Kind.REQUESTED),
        lambda: subjects.run_subject(0, RunKey("ws", bad), Kind.REQUESTED),
        lambda: subjects.live_subject(0, RunKey(bad, "run")),
        lambda: subjects.managed_subject(bad, "flow", "flow_1"),
        lambda: subjects.managed_subject("ws", "flow", bad),
        lambda: subjects.answer_subject(bad, "run"),
    )
    for build in builds:
        with pytest.raises(ValueError, match="token"):
            build()


def test_the_stream_of_a_run_never_changes() -> None:
    assert [subjects.shard_of(f"run_{n}", 4) for n in range(8)] == [1, 3, 1, 3, 0, 2, 0, 2]


def test_new_ids_are_tokens_that_differ_and_sort_by_time() -> None:
    ids = [new_id("run") for _ in range(2000)]

    assert len(set(ids)) == 2000
    assert all(is_token(one) and len(one) == 30 and one.startswith("run_") for one in ids)
    times = [one[:14] for one in ids]
    assert times == sorted(times)


PARTS = st.tuples(TOKEN, TOKEN, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))


@given(PARTS, PARTS)
def test_a_derived_id_belongs_to_its_parts_alone(parts: tuple[str, ...], others: tuple[str, ...]) -> None:
    """Only the last part is free text (an `Idempotency-Key`); those before it are tokens."""
    one = derived_id("run", *parts)

    assert one == derived_id("run", *parts)
    assert is_token(one)
    assert len(one) == 30
    assert (one == derived_id("run", *others)) == (parts == others)
