"""`headgate doctor` looks at an environment: what is right, what is odd, what is wrong, and never a secret."""

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.doctor import Check, examine
from cli.servers import NatsServer

SECRET = "a-password-nobody-may-read"


async def looked_at(tmp_path: Path, environment: Mapping[str, str]) -> dict[str, Check]:
    checks = await examine({"HEADGATE_DATA": str(tmp_path / "data"), **environment})
    assert not any(SECRET in each.told + each.do for each in checks)
    assert all(each.do for each in checks if each.state != "good")
    return {each.subject: each for each in checks}


async def test_an_environment_without_settings_is_well(tmp_path: Path) -> None:
    found = await looked_at(tmp_path, {})
    assert {each.state for each in found.values()} == {"good"}
    assert {"variables", "values", "durability", "egress", "mail", "data", "NATS", "PostgreSQL", "traces"} <= set(found)


@pytest.mark.parametrize(
    ("variable", "value", "subject", "state", "mark"),
    [
        ("HEADGATE_PROT", "8081", "HEADGATE_PROT", "odd", "Did you mean HEADGATE_PORT?"),
        ("HEADGATE_STREAMS", "many", "values", "wrong", "streams"),
        ("HEADGATE_PORT", "99999", "headgate up", "wrong", "HEADGATE_PORT"),
        ("HEADGATE_FSYNC", "never", "headgate up", "wrong", "HEADGATE_FSYNC"),
        ("HEADGATE_FSYNC", "interval", "durability", "odd", "power failure"),
        ("HEADGATE_MASTER_KEY", SECRET, "master key", "wrong", "base64"),
        ("HEADGATE_MASTER_KEY", base64.b64encode(b"short").decode(), "master key", "wrong", "32 bytes"),
        ("HEADGATE_MASTER_KEY_FILE", "/nowhere/master.key", "HEADGATE_MASTER_KEY_FILE", "wrong", "no file"),
        ("HEADGATE_ADMIN_KEY", SECRET, "admin key", "wrong", "sk-"),
        ("HEADGATE_EGRESS_ALLOW", "10.0.0.0/99", "egress", "wrong", "HEADGATE_EGRESS_ALLOW"),
        ("HEADGATE_EGRESS_ALLOW", "0.0.0.0/0", "egress", "odd", "every address"),
        ("OPENAI_BASE_URL", "nonsense", "models", "wrong", "openai"),
        ("HEADGATE_PROVIDER_OWN_BASE_URL", "http://models/v1", "models: own", "odd", "without a key"),
        ("HEADGATE_SMTP_URL", f"http://u:{SECRET}@mail", "mail", "wrong", ""),
        ("HEADGATE_ALERT_EMAIL", "nobody", "mail", "wrong", ""),
        ("HEADGATE_NATS_URL", "nats://127.0.0.1:1", "NATS", "wrong", "127.0.0.1:1 does not answer"),
        ("HEADGATE_NATS_URL", "nats://127.0.0.1:many", "NATS", "wrong", "no URL"),
        ("HEADGATE_POSTGRES_DSN", f"postgresql://u:{SECRET}@127.0.0.1:1/d", "PostgreSQL", "wrong", "let us in"),
        ("HEADGATE_POSTGRES_DSN", f"{SECRET}", "PostgreSQL", "wrong", "let us in"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://u:{SECRET}@127.0.0.1:1", "traces", "odd", "nobody takes them"),
    ],
)
async def test_what_is_not_as_it_should_be_is_named(
    tmp_path: Path, variable: str, value: str, subject: str, state: str, mark: str
) -> None:
    check = (await looked_at(tmp_path, {variable: value}))[subject]
    assert check.state == state
    assert mark in f"{check.told} {check.do}"


async def test_a_server_of_nats_is_told_by_its_greeting(tmp_path: Path, nats_server: NatsServer) -> None:
    check = (await looked_at(tmp_path, {"HEADGATE_NATS_URL": nats_server.url}))["NATS"]
    assert check.state == "good"
    assert "with JetStream" in check.told


async def test_what_says_nothing_is_no_server_of_nats(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        check = (await looked_at(tmp_path, {"HEADGATE_NATS_URL": f"nats://127.0.0.1:{mute.getsockname()[1]}"}))["NATS"]
    assert (check.state, "took too long" in check.told) == ("wrong", True)


async def test_postgres_lets_us_in(tmp_path: Path, postgres: Any) -> None:
    assert (await looked_at(tmp_path, {"HEADGATE_POSTGRES_DSN": postgres}))["PostgreSQL"].state == "good"


def test_the_command_fails_where_something_is_wrong(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "cli", "doctor", "--json"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "OTEL_"))}
    for more, code in (({}, 0), ({"HEADGATE_STREAMS": "many"}, 1)):
        env = inherited | {"HEADGATE_DATA": str(tmp_path)} | more
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        states = {each["state"] for each in json.loads(done.stdout)["data"]}
        assert ("wrong" in states) is bool(code)
