"""The copy of all keys in memory: whose key, still valid, and the same whatever way the changes came."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.events.managed import Change, Key, KeySecret, State
from services.auth.directory import Directory
from tests.auth.samples import NOW, WORKSPACE, sample_key

KEY = "mgt.ws_1.key.key_sample"
HISTORY: list[Key] = [
    sample_key(digest="one"),
    replace(sample_key(), secrets=(KeySecret(hash="two"), KeySecret(hash="one", valid_until=NOW))),
    replace(sample_key(), secrets=(KeySecret(hash="two"),), active=False),
    replace(sample_key(), secrets=(), active=False, deleted=True),
]


def change(state: State) -> Change:
    """An event with this state."""
    return Change(type="key.changed", at=NOW, by="key_root", state=state)


def directory_of(key: Key) -> Directory:
    """A directory with one workspace and one key."""
    directory = Directory()
    directory.apply("mgt.ws_1.workspace.ws_1", 1, change(WORKSPACE))
    directory.apply(KEY, 2, change(key))
    return directory


def test_a_principal_has_what_its_key_and_its_workspace_say() -> None:
    key = sample_key("read", "execute", bound_to=("d1",), digest="one")
    outcome, principal = directory_of(key).identify("one", NOW)
    assert outcome == "accepted"
    assert principal is not None
    assert (principal.key_id, principal.workspace, principal.root) == ("key_sample", "ws_1", False)
    assert (principal.permissions, principal.deployment_ids) == (("read", "execute"), ("d1",))
    assert (principal.plan, principal.limits, principal.valid_until) == ("free", WORKSPACE.limits, None)


@pytest.mark.parametrize(
    ("key", "digest", "outcome"),
    [
        (sample_key(digest="one"), "other", "unknown"),
        (replace(sample_key(digest="one"), active=False), "one", "inactive"),
        (replace(sample_key(digest="one"), expires_at=NOW), "one", "expired"),
        (replace(sample_key(), secrets=(KeySecret(hash="one", valid_until=NOW),)), "one", "expired"),
        (replace(sample_key(digest="one"), workspace="ws_gone"), "one", "unknown"),
        (HISTORY[-1], "one", "unknown"),
    ],
)
def test_what_is_not_valid_opens_nothing(key: Key, digest: str, outcome: str) -> None:
    assert directory_of(key).identify(digest, NOW) == (outcome, None)


def test_a_principal_ends_with_its_key_or_its_grace_whichever_is_first() -> None:
    first, second = NOW + timedelta(seconds=5), NOW + timedelta(seconds=9)
    key = replace(sample_key(), secrets=(KeySecret(hash="one", valid_until=second),), expires_at=first)
    _, principal = directory_of(key).identify("one", NOW)
    assert principal is not None
    assert principal.valid_until == first


@given(st.lists(st.integers(0, len(HISTORY) - 1)), st.integers(0, len(HISTORY) - 1))
def test_only_the_newest_change_counts_in_whatever_order_they_come(order: list[int], newest: int) -> None:
    expected = directory_of(HISTORY[newest])
    directory = Directory()
    directory.apply("mgt.ws_1.workspace.ws_1", 1, change(WORKSPACE))
    for version in [*(v for v in order if v <= newest), newest, *(v for v in order if v <= newest)]:
        directory.apply(KEY, 10 + version, change(HISTORY[version]))
    for digest in ("one", "two"):
        assert directory.identify(digest, NOW - timedelta(1)) == expected.identify(digest, NOW - timedelta(1))
    assert directory.keys("ws_1") == expected.keys("ws_1")
    assert directory.size == expected.size


def test_a_change_is_new_once() -> None:
    directory = Directory()
    assert [directory.apply(KEY, 5, change(sample_key())) for _ in range(2)] == [True, False]
