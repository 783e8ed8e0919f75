"""The commands against a real stack, as a shell sees them: what they print, and how they exit."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.flows import write_greeter
from tests.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("data")) as stack:
        yield stack


@pytest.fixture(scope="module")
def greeter(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A deployment made by the command."""
    deployed: dict[str, Any] = answer(stack, "deploy", str(write_greeter(tmp_path_factory.mktemp("flows"))))
    return deployed


def headgate(stack: Stack, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *words],
        env=stack.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def answer(stack: Stack, *words: str) -> Any:
    """What a command that succeeds prints with --json."""
    done = headgate(stack, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_help_takes_less_than_half_a_second() -> None:
    """Of the processor: how long it takes by the clock is also for others on the machine to say."""
    words = [sys.executable, "-m", "cli", "--help"]
    subprocess.run(words, capture_output=True, check=True)
    before = _processor_seconds()
    subprocess.run(words, capture_output=True, check=True)
    assert _processor_seconds() - before < 0.4


def _processor_seconds() -> float:
    """What processes of ours that have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_deployment_is_shown_with_its_key_and_a_line_to_try(stack: Stack, tmp_path: Path) -> None:
    done = headgate(stack, "deploy", str(write_greeter(tmp_path, slug="shown")))
    assert done.returncode == 0, done.stderr
    assert "(shown this once)" in done.stdout
    assert "sk-" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(f"curl -s {stack.url}/v1/deployments/")


def test_deploying_again_moves_the_deployment_only_when_the_file_changed(stack: Stack, tmp_path: Path) -> None:
    first = answer(stack, "deploy", str(write_greeter(tmp_path, slug="moving")))
    same = answer(stack, "deploy", str(tmp_path / "moving.json"))
    changed = answer(stack, "deploy", str(write_greeter(tmp_path, slug="moving", text="Bye, {{ in.name }}.")))
    assert [each["version"] for each in (first, same, changed)] == [1, 1, 2]
    assert {each["id"] for each in (first, same, changed)} == {first["id"]}


def test_a_run_prints_its_output_and_shows_its_nodes_aside(stack: Stack, greeter: dict[str, Any]) -> None:
    done = headgate(stack, "run", "greeter", "-i", "name=Bob")
    assert (done.returncode, done.stdout) == (0, "Hello, Bob!\n")
    assert [line.split()[:2] for line in done.stderr.splitlines() if line.startswith("✓")] == [
        ["✓", "in"],
        ["✓", "hi"],
        ["✓", "out"],
    ]


def test_a_run_in_json_is_the_run(stack: Stack, greeter: dict[str, Any]) -> None:
    run = answer(stack, "run", greeter["id"], "--input", '{"name": "Ada"}')
    assert (run["status"], run["output"]) == ("completed", "Hello, Ada!")


def test_a_bad_input_is_explained_with_its_pointer(stack: Stack, greeter: dict[str, Any]) -> None:
    done = headgate(stack, "run", "greeter", "-i", "name=" + "x" * 50)
    assert (done.returncode, done.stdout) == (1, "")
    assert "/input/name" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_failed_says_where_and_exits_with_one(stack: Stack, tmp_path: Path) -> None:
    document = json.loads(write_greeter(tmp_path, slug="failing").read_text())
    document["nodes"][1] = {
        "id": "hi",
        "type": "transform",
        "retry": {"max_attempts": 1, "backoff_seconds": 0},
        "config": {"expression": "length(`1`)"},
    }
    document["nodes"][2]["config"]["value"] = "{{ hi }}"
    (tmp_path / "failing.json").write_text(json.dumps(document))
    answer(stack, "deploy", str(tmp_path / "failing.json"))
    done = headgate(stack, "run", "failing", "-i", "name=Ada")
    assert (done.returncode, done.stdout) == (1, "")
    assert "failed at hi" in done.stderr


def test_runs_are_listed_and_their_events_told(stack: Stack, greeter: dict[str, Any]) -> None:
    run = answer(stack, "run", "greeter", "-i", "name=Eve")
    listed = answer(stack, "runs", "--deployment", greeter["id"], "--limit", "5")
    assert run["id"] in [each["id"] for each in listed["data"]]
    assert run["id"] in headgate(stack, "runs").stdout
    for option in ([], ["--follow"]):
        lines = headgate(stack, "events", run["id"], "--json", *option).stdout.splitlines()
        kinds = [json.loads(line)["type"] for line in lines]
        assert (kinds[0], kinds[-1]) == ("run.requested", "run.completed")


def test_a_finished_run_cannot_be_cancelled(stack: Stack, greeter: dict[str, Any]) -> None:
    run = answer(stack, "run", "greeter", "-i", "name=Eve")
    done = headgate(stack, "cancel", run["id"])
    assert done.returncode == 1
    assert done.stderr.strip()


def test_a_key_is_made_used_rotated_revoked_and_deleted(stack: Stack, greeter: dict[str, Any]) -> None:
    made = answer(stack, "keys", "create", "mine", "-p", "execute", "-p", "read")
    assert headgate(stack, "run", "greeter", "-i", "name=A", HEADGATE_API_KEY=made["key"]).returncode == 0
    turned = answer(stack, "keys", "rotate", made["id"])
    assert turned["key"] != made["key"]
    assert made["id"] in [each["id"] for each in answer(stack, "keys", "list")["data"]]
    assert made["key"] not in headgate(stack, "keys", "list").stdout
    assert answer(stack, "keys", "revoke", made["id"])["active"] is False
    assert answer(stack, "keys", "delete", made["id"]) == {"deleted": True}
    assert headgate(stack, "keys", "delete", made["id"]).returncode == 1


def test_flows_are_listed_and_shown_as_they_were_deployed(stack: Stack, tmp_path: Path) -> None:
    file = write_greeter(tmp_path, slug="told")
    answer(stack, "deploy", str(file))
    assert "told" in [flow["slug"] for flow in answer(stack, "flows", "list")["data"]]
    shown = answer(stack, "flows", "show", "told")
    assert [node["id"] for node in shown["nodes"]] == ["in", "hi", "out"]
    done = headgate(stack, "flows", "show", "nothing")
    assert done.returncode == 1
    assert "'nothing'" in done.stderr


def test_a_wrong_key_is_explained(stack: Stack) -> None:
    done = headgate(stack, "runs", HEADGATE_API_KEY="sk-" + "x" * 48)
    assert done.returncode == 1
    assert "HEADGATE_API_KEY" in done.stderr


def test_a_flow_file_is_checked_without_a_server(tmp_path: Path) -> None:
    good, bad = write_greeter(tmp_path), write_greeter(tmp_path, slug="bad", text="{{ nowhere.x }}")

    def validate(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "cli", "flows", "validate", str(file), *options]
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)

    assert validate(good).returncode == 0
    refused = validate(bad)
    assert refused.returncode == 1
    assert "/nodes/1/config/text" in refused.stdout
    told = json.loads(validate(bad, "--json").stdout)
    assert told["valid"] is False
    assert told["errors"][0]["pointer"] == "/nodes/1/config/text"
