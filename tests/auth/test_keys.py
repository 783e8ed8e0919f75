"""What may be done with keys, decided by given, when, then."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from libs.events.auth_calls import KeyPatch, NewKey, Rotation
from libs.events.managed import Change, Key, KeySecret
from services.auth.keys import (
    MAX_SECRETS,
    decide_change,
    decide_create,
    decide_delete,
    decide_issue,
    decide_rotate,
    decide_withdraw,
)
from services.auth.refusals import Refusal
from tests.auth.samples import NOW, asking, fresh, sample_key

DELETED = replace(sample_key(), deleted=True, active=False, secrets=())


def state_of(change: Change | None) -> Key:
    """The key in an event."""
    assert change is not None
    assert isinstance(change.state, Key)
    return change.state


def test_a_created_key_has_what_was_asked_for_and_the_event_says_who_and_where_from() -> None:
    made = fresh()
    wish = NewKey(
        name=" CI ",
        permissions=("write", "execute", "write"),
        deployment_ids=("d1", "d1"),
        expires_at="2026-03-02T00:00:00+01:00",
    )
    change, shown = decide_create(asking(), None, wish, made)
    key = state_of(change)
    assert change is not None
    assert (change.type, change.by, change.address, change.at) == ("key.created", "key_sample", "192.0.2.7", NOW)
    assert (key.name, key.permissions, key.deployment_ids) == ("CI", ("execute", "write"), ("d1",))
    assert key.expires_at is not None
    assert key.expires_at.isoformat() == "2026-03-01T23:00:00+00:00"
    assert key.secrets == (KeySecret(hash=made.hash),)
    assert (shown.key, shown.masked, shown.id) == (made.text, made.masked, key.id)


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        (NewKey(name="", permissions=("read",)), "/name"),
        (NewKey(name="  ", permissions=("read",)), "/name"),
        (NewKey(name="a" * 201, permissions=("read",)), "/name"),
        (NewKey(name="a\nb", permissions=("read",)), "/name"),
        (NewKey(name="a", permissions=()), "/permissions"),
        (NewKey(name="a", permissions=("read", "root")), "/permissions/1"),
        (NewKey(name="a", permissions=("read",), deployment_ids=("d",) * 101), "/deployment_ids"),
        (NewKey(name="a", permissions=("read",), deployment_ids=("d", "a.b")), "/deployment_ids/1"),
        (NewKey(name="a", permissions=("read",), expires_at="tomorrow"), "/expires_at"),
        (NewKey(name="a", permissions=("read",), expires_at="2030-01-01T00:00:00"), "/expires_at"),
        (NewKey(name="a", permissions=("read",), expires_at="2026-03-01T12:00:00Z"), "/expires_at"),
        (NewKey(name="a", permissions=("read",), expires_at="0001-01-01T00:00:00+23:59"), "/expires_at"),
        (NewKey(name="a", permissions=("read",), expires_at="9999-12-31T23:59:59-12:00"), "/expires_at"),
    ],
)
def test_a_wish_that_does_not_fit_is_refused_with_its_place(wish: NewKey, pointer: str) -> None:
    with pytest.raises(Refusal) as refusal:
        decide_create(asking(), None, wish, fresh())
    assert (refusal.value.code, refusal.value.pointer) == ("invalid_input", pointer)


@pytest.mark.parametrize("permission", ["read", "execute", "write"])
def test_only_admin_manages_keys(permission: str) -> None:
    asker = asking(permission)  # type: ignore[arg-type]
    for decide in (
        lambda: decide_create(asker, None, NewKey(name="a", permissions=(permission,)), fresh()),
        lambda: decide_change(asker, sample_key(), KeyPatch(active=False)),
        lambda: decide_rotate(asker, sample_key(), Rotation(), fresh()),
        lambda: decide_delete(asker, sample_key()),
    ):
        with pytest.raises(Refusal) as refusal:
            decide()
        assert refusal.value.code == "forbidden"


@pytest.mark.parametrize("wanted", [None, (), ("d3",), ("d1", "d3")])
def test_a_bound_key_makes_none_that_reaches_further(wanted: tuple[str, ...] | None) -> None:
    wish = NewKey(name="a", permissions=("read",), deployment_ids=wanted)
    with pytest.raises(Refusal) as refusal:
        decide_create(asking("admin", bound_to=("d1", "d2")), None, wish, fresh())
    assert refusal.value.code == "forbidden"


def test_a_bound_key_makes_keys_for_its_own_deployments() -> None:
    wish = NewKey(name="a", permissions=("admin",), deployment_ids=("d2",))
    change, _ = decide_create(asking("admin", bound_to=("d1", "d2")), None, wish, fresh())
    assert state_of(change).deployment_ids == ("d2",)


def test_a_bound_key_gets_no_secret_of_one_that_reaches_further() -> None:
    with pytest.raises(Refusal) as refusal:
        decide_rotate(asking("admin", bound_to=("d1",)), sample_key(), Rotation(), fresh())
    assert refusal.value.code == "forbidden"


def test_a_rotated_key_has_a_new_secret_and_the_old_one_until_the_grace_ends() -> None:
    made = fresh()
    change, shown = decide_rotate(asking(), sample_key(digest="old"), Rotation(grace_seconds=60), made)
    key = state_of(change)
    assert key.secrets == (KeySecret(hash=made.hash), KeySecret(hash="old", valid_until=NOW + timedelta(seconds=60)))
    assert (shown.key, shown.masked, key.masked) == (made.text, made.masked, made.masked)


def test_rotating_without_grace_ends_every_earlier_secret_at_once() -> None:
    graced = replace(
        sample_key(), secrets=(KeySecret(hash="b"), KeySecret(hash="a", valid_until=NOW + timedelta(days=1)))
    )
    change, _ = decide_rotate(asking(), graced, Rotation(), fresh())
    assert len(state_of(change).secrets) == 1


def test_a_second_grace_does_not_prolong_the_first() -> None:
    soon = NOW + timedelta(seconds=5)
    graced = replace(sample_key(), secrets=(KeySecret(hash="b"), KeySecret(hash="a", valid_until=soon)))
    change, _ = decide_rotate(asking(), graced, Rotation(grace_seconds=60), fresh())
    assert [secret.valid_until for secret in state_of(change).secrets] == [None, NOW + timedelta(seconds=60), soon]


def test_the_secrets_that_work_at_the_same_time_are_bounded() -> None:
    key = sample_key()
    for _ in range(MAX_SECRETS - 1):
        key = state_of(decide_rotate(asking(), key, Rotation(grace_seconds=60), fresh())[0])
    assert len(key.secrets) == MAX_SECRETS
    with pytest.raises(Refusal) as refusal:
        decide_rotate(asking(), key, Rotation(grace_seconds=60), fresh())
    assert refusal.value.code == "conflict"
    assert len(state_of(decide_rotate(asking(), key, Rotation(), fresh())[0]).secrets) == 1


@pytest.mark.parametrize("seconds", [-1, 604_801])
def test_a_grace_is_at_most_a_week(seconds: int) -> None:
    with pytest.raises(Refusal) as refusal:
        decide_rotate(asking(), sample_key(), Rotation(grace_seconds=seconds), fresh())
    assert refusal.value.pointer == "/grace_seconds"


def test_a_change_that_changes_nothing_is_no_event() -> None:
    assert decide_change(asking(), sample_key(), KeyPatch(active=True, name="Sample"))[0] is None


def test_a_key_is_deactivated_and_renamed() -> None:
    change, shown = decide_change(asking(), sample_key(), KeyPatch(active=False, name="Other"))
    assert (state_of(change).active, shown.active, shown.name) == (False, False, "Other")


def test_a_patch_without_any_field_is_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        decide_change(asking(), sample_key(), KeyPatch())
    assert refusal.value.code == "invalid_input"


def test_a_deleted_key_keeps_no_secret() -> None:
    key = state_of(decide_delete(asking(), sample_key())[0])
    assert (key.deleted, key.secrets) == (True, ())


@pytest.mark.parametrize("existing", [None, DELETED])
def test_what_is_deleted_is_not_found(existing: Key | None) -> None:
    for decide in (
        lambda: decide_change(asking(), existing, KeyPatch(active=True)),
        lambda: decide_rotate(asking(), existing, Rotation(), fresh()),
        lambda: decide_delete(asking(), existing),
    ):
        with pytest.raises(Refusal) as refusal:
            decide()
        assert refusal.value.code == "not_found"


def test_a_deployments_own_key_executes_it_and_nothing_else() -> None:
    change, _ = decide_issue(asking("write"), None, "d1", "Greeter", fresh())
    key = state_of(change)
    assert (key.name, key.permissions, key.deployment_ids) == ("Greeter", ("execute",), ("d1",))


@pytest.mark.parametrize("asker", [asking("read"), asking("execute"), asking("write", bound_to=("d2",))])
def test_a_deployments_own_key_needs_the_right_to_write_there(asker: object) -> None:
    with pytest.raises(Refusal) as refusal:
        decide_issue(asker, None, "d1", "Greeter", fresh())  # type: ignore[arg-type]
    assert refusal.value.code == "forbidden"


@pytest.mark.parametrize("existing", [sample_key(), DELETED])
def test_a_deployment_gets_its_key_once(existing: Key) -> None:
    with pytest.raises(Refusal) as refusal:
        decide_issue(asking("write"), existing, "d1", "Greeter", fresh())
    assert refusal.value.code == "conflict"


def test_withdrawing_twice_is_withdrawing_once() -> None:
    own = sample_key("execute", bound_to=("d1",))
    gone = state_of(decide_withdraw(asking("write"), own)[0])
    assert gone.deleted
    assert decide_withdraw(asking("write"), gone) == (None, None)
