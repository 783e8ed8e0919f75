"""What `headgate up` makes of its options and the environment."""

from pathlib import Path

import pytest

from cli.up.plan import Place, Plan, places, read_plan, service_environment
from cli.up.refusal import StartRefusedError

ONE_EACH = {"gateways": 1, "auths": 1, "executors": 1, "notifiers": 1}


def test_without_settings_it_is_port_8080_and_data_below_here() -> None:
    plan = read_plan({}, counts=ONE_EACH, flows=None)
    assert (plan.port, plan.data, plan.fsync) == (8080, Path(".headgate").absolute(), "always")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADGATE_PORT", "eighty"),
        ("HEADGATE_PORT", "65536"),
        ("HEADGATE_FSYNC", "never"),
        ("HEADGATE_SMTP_URL", "mail.test:25"),
        ("HEADGATE_SMTP_URL_FILE", "not/there"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(name: str, value: str) -> None:
    with pytest.raises(StartRefusedError, match=name):
        read_plan({name: value}, counts=ONE_EACH, flows=None)


def test_a_directory_of_flows_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartRefusedError, match="no such directory"):
        read_plan({}, counts=ONE_EACH, flows=tmp_path / "none")


def test_gateways_are_consecutive_and_the_others_take_what_is_free() -> None:
    plan = Plan(gateways=2, executors=2, data=Path("/x"))
    found = {(place.service, place.index): place.port for place in places(plan, next_port=lambda start: start + 1)}
    assert found == {
        ("auth", 0): 9301,
        ("executor", 0): 9303,
        ("executor", 1): 9305,
        ("notifier", 0): 9307,
        ("gateway", 0): 8080,
        ("gateway", 1): 8081,
    }


def environment(service: str, inherited: dict[str, str]) -> dict[str, str]:
    return service_environment(
        Place(service=service, index=2, port=9300),
        plan=Plan(data=Path("/data"), host="0.0.0.0"),
        inherited=inherited,
        nats_url="nats://n",
        postgres_dsn="postgresql://p",
        admin_key="sk-admin",
        parent_fd=7,
    )


def test_a_service_is_told_where_everything_is() -> None:
    told = environment("executor", {"OPENAI_API_KEY": "k", "HEADGATE_CONCURRENCY": "9"})
    assert told == {
        "OPENAI_API_KEY": "k",
        "HEADGATE_CONCURRENCY": "9",
        "HEADGATE_SERVICE": "executor",
        "HEADGATE_INDEX": "2",
        "HEADGATE_HOST": "127.0.0.1",
        "HEADGATE_PORT": "9300",
        "HEADGATE_NATS_URL": "nats://n",
        "HEADGATE_POSTGRES_DSN": "postgresql://p",
        "HEADGATE_MASTER_KEY_FILE": "/data/master.key",
        "HEADGATE_DATA": "/data",
        "HEADGATE_PARENT_FD": "7",
    }


def test_only_auth_is_told_the_admin_key_and_only_gateways_listen_for_others() -> None:
    inherited = {"HEADGATE_ADMIN_KEY": "sk-admin", "HEADGATE_API_KEY": "sk-mine"}
    secrets = {name: environment(name, inherited) for name in ("auth", "executor", "gateway", "notifier")}
    assert [name for name, told in secrets.items() if "sk-admin" in told.values()] == ["auth"]
    assert not any("sk-mine" in told.values() for told in secrets.values())
    assert [name for name, told in secrets.items() if told["HEADGATE_HOST"] == "0.0.0.0"] == ["gateway"]
