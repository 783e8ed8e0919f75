"""What is masked, whole and in pieces."""

import json
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from libs.events.run_events import FinishedData, NodeFinished
from services.executor.masking import MASKED, Mask

VALUE = 'pass"word\n/é'


def test_a_value_is_masked_in_every_form_that_templates_give_it() -> None:
    mask = Mask([VALUE])
    for form in (VALUE, json.dumps(VALUE)[1:-1], msgspec.json.encode(VALUE).decode()[1:-1], VALUE.upper()):
        assert mask.text(f"<{form}>") == f"<{MASKED}>"
    assert mask.text(quote(VALUE, safe="")) == MASKED
    assert mask.text(quote(VALUE)) == MASKED
    nested = json.dumps({"a": json.dumps([VALUE], ensure_ascii=False)})
    assert "word" not in json.dumps(mask.value(json.loads(nested)))


def test_values_are_masked_at_any_depth_and_in_keys() -> None:
    mask = Mask(["hidden", "12345"])
    given = {"a hidden key": [1, None, {"x": "so hidden."}], "n": 1234567, "t": True, "f": 0.12345}
    assert mask.value(given) == {
        f"a {MASKED} key": [1, None, {"x": f"so {MASKED}."}],
        "n": MASKED,
        "t": True,
        "f": MASKED,
    }


def test_values_of_less_than_four_characters_are_left_alone() -> None:
    mask = Mask(["abc", ""])
    assert not mask
    assert mask.text("abc") == "abc"
    assert mask.split("abc") == ("abc", "")


def test_the_longer_of_two_values_wins() -> None:
    assert Mask(["secret", "secret-and-more"]).text("a secret-and-more, a secret") == f"a {MASKED}, a {MASKED}"


def test_names_in_an_event_are_left_alone() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    data = FinishedData(output=msgspec.Raw(b'["node","node-1"]'), duration_seconds=0.5)
    event = NodeFinished(seq=1, run_id="run_node", at=at, node="node", data=data)
    masked = Mask(["node"]).event(event)
    assert msgspec.structs.replace(masked, data=data) == event
    assert masked.data.output == [MASKED, f"{MASKED}-1"]


@given(st.text("abc ", max_size=40), st.lists(st.integers(1, 6), min_size=40, max_size=40))
def test_a_text_that_comes_in_pieces_is_masked_as_a_whole_one(text: str, sizes: list[int]) -> None:
    mask = Mask(["abca", "abcabc", "cabb"])
    said, rest, at = "", "", 0
    for size in sizes:
        ready, rest = mask.split(rest + text[at : at + size])
        said, at = said + ready, at + size
    assert said + mask.text(rest) == mask.text(text)
