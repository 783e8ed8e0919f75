"""Anything at all as a body: each dialect answers it, in its own words, and never with an error of ours."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dialects.caller import Caller, Deployed
from tests.dialects.dialects import ALL, Dialect
from tests.dialects.documents import optional

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
WORDS = [
    *("text", "input", "input_data", "input_value", "variableInputs", "stream", "tweaks", "session_id"),
    *("say", "in", "out", "model_name", "inputId", "inputText", "fileUrl", "fileId"),
]
guesses = st.recursive(
    values,
    lambda inner: st.dictionaries(st.sampled_from(WORDS), inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)
bodies = st.binary(max_size=60) | guesses.map(lambda value: json.dumps(value).encode())


@pytest.fixture(scope="module")
def listening(admin: Caller) -> Deployed:
    """A flow that completes whatever its input is, if it is one."""
    return admin.deploy(optional())


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=bodies)
def test_any_body_is_answered_in_the_dialect_s_own_words(
    dialect: Dialect, data: bytes, admin: Caller, listening: Deployed
) -> None:
    answer = admin.post(dialect.at(listening.id), data=data)
    if answer.status_code == 400:
        assert dialect.error(answer, 400, "invalid_input")
        return
    assert answer.ok, (data, answer.text)
    if "event-stream" not in answer.headers["Content-Type"]:
        found: Any = answer.json()
        assert isinstance(found, dict)
