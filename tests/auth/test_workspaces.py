"""Plans and limits, decided without a broker."""

import pytest
from msgspec.structs import replace

from libs.events.auth_calls import LimitsPatch, NewWorkspace, WorkspacePatch
from libs.events.managed import Change, Key, Limits, Workspace
from services.auth.asking import Asking
from services.auth.refusals import Refusal
from services.auth.workspaces import decide_change, decide_create
from tests.auth.samples import ROOT, WORKSPACE, asking, fresh

ROOT_ADMIN = asking(workspace=ROOT)


def state_of(change: Change | None) -> Workspace:
    """The workspace in an event."""
    assert change is not None
    assert isinstance(change.state, Workspace)
    return change.state


@pytest.mark.parametrize(
    ("plan", "limits"),
    [
        ("free", Limits(concurrent_runs=4, monthly_requests=1_000)),
        ("pro", Limits(concurrent_runs=20, monthly_requests=10_000)),
        ("enterprise", Limits()),
    ],
)
def test_a_plan_brings_its_limits(plan: str, limits: Limits) -> None:
    _, change, made = decide_create(ROOT_ADMIN, NewWorkspace(name="Two", plan=plan), "ws_2", fresh())
    assert state_of(change).limits == made.limits == limits
    assert not state_of(change).root


def test_a_new_workspace_has_an_admin_of_its_own() -> None:
    made_key = fresh()
    change, _, made = decide_create(ROOT_ADMIN, NewWorkspace(name="Two", plan="pro"), "ws_2", made_key)
    key = change.state
    assert isinstance(key, Key)
    assert (key.workspace, key.permissions, made.admin_key) == ("ws_2", ("admin",), made_key.text)


def test_given_limits_replace_those_of_the_plan_one_by_one() -> None:
    wish = NewWorkspace(name="Two", plan="free", limits=LimitsPatch(monthly_requests=None, requests_per_second=7))
    _, change, _ = decide_create(ROOT_ADMIN, wish, "ws_2", fresh())
    assert state_of(change).limits == Limits(concurrent_runs=4, requests_per_second=7)


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        (NewWorkspace(name="", plan="free"), "/name"),
        (NewWorkspace(name="a", plan="gold"), "/plan"),
        (NewWorkspace(name="a", plan="pro", limits=LimitsPatch(concurrent_runs=0)), "/limits/concurrent_runs"),
        (NewWorkspace(name="a", plan="pro", limits=LimitsPatch(monthly_requests=-1)), "/limits/monthly_requests"),
        (
            NewWorkspace(name="a", plan="pro", limits=LimitsPatch(requests_per_second=10**12)),
            "/limits/requests_per_second",
        ),
    ],
)
def test_a_wish_that_does_not_fit_is_refused_with_its_place(wish: NewWorkspace, pointer: str) -> None:
    with pytest.raises(Refusal) as refusal:
        decide_create(ROOT_ADMIN, wish, "ws_2", fresh())
    assert (refusal.value.code, refusal.value.pointer) == ("invalid_input", pointer)


@pytest.mark.parametrize(
    "asker", [asking(), asking("write", workspace=ROOT), asking("admin", workspace=ROOT, bound_to=("d1",))]
)
def test_only_the_root_admin_makes_workspaces(asker: Asking) -> None:
    with pytest.raises(Refusal) as refusal:
        decide_create(asker, NewWorkspace(name="a", plan="free"), "ws_2", fresh())
    assert refusal.value.code == "forbidden"


def test_another_plan_brings_its_limits_and_given_ones_on_top() -> None:
    limited = replace(WORKSPACE, limits=Limits(concurrent_runs=1))
    change, shown = decide_change(
        ROOT_ADMIN, "ws_1", limited, WorkspacePatch(plan="pro", limits=LimitsPatch(requests_per_second=3))
    )
    assert state_of(change).limits == shown.limits
    assert shown.limits == Limits(concurrent_runs=20, monthly_requests=10_000, requests_per_second=3)


def test_limits_alone_change_what_they_name() -> None:
    _, shown = decide_change(ROOT_ADMIN, "ws_1", WORKSPACE, WorkspacePatch(limits=LimitsPatch(requests_per_second=3)))
    assert (shown.plan, shown.limits) == ("free", Limits(concurrent_runs=4, requests_per_second=3))


def test_a_change_that_changes_nothing_is_no_event() -> None:
    patch = WorkspacePatch(limits=LimitsPatch(concurrent_runs=4))
    assert decide_change(ROOT_ADMIN, "ws_1", WORKSPACE, patch)[0] is None


@pytest.mark.parametrize(
    ("asker", "workspace_id", "existing", "code"),
    [
        (ROOT_ADMIN, "ws_2", None, "not_found"),
        (asking(), "ws_2", replace(WORKSPACE, id="ws_2"), "not_found"),
        (asking(), "ws_1", WORKSPACE, "forbidden"),
        (asking("read", "write", "execute", workspace=ROOT), "ws_1", WORKSPACE, "forbidden"),
    ],
)
def test_nobody_but_the_root_admin_changes_limits(
    asker: Asking, workspace_id: str, existing: Workspace | None, code: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        decide_change(asker, workspace_id, existing, WorkspacePatch(plan="enterprise"))
    assert refusal.value.code == code


def test_a_patch_without_any_field_is_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        decide_change(ROOT_ADMIN, "ws_1", WORKSPACE, WorkspacePatch())
    assert refusal.value.code == "invalid_input"
