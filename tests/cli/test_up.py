"""`headgate up` with everything real: starts, restarts, stops and crashes of a whole stack."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.flows import write_greeter
from tests.stack import Stack, StackFailedError

GIVEN_KEY = "sk-" + "k" * 40


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("flows")
    write_greeter(directory)
    return directory


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, flows: Path) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("data")
    with Stack(data, gateways=2, flows=flows, env={"HEADGATE_ADMIN_KEY": GIVEN_KEY}) as stack:
        yield stack


def call(stack: Stack, method: str, path: str, body: object = None, *, gateway: int = 0) -> Any:
    headers = {**stack.headers, "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(stack.urls[gateway] + path, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def greeting(stack: Stack, *, gateway: int = 0) -> str:
    output: str = call(stack, "POST", "/v1/deployments/greeter/runs", {"input": {"name": "Ada"}}, gateway=gateway)[
        "output"
    ]
    return output


def alive(stack: Stack) -> list[str]:
    """The processes on this machine that belong to the stack."""
    marks = (str(stack.data), f"HEADGATE_DATA={stack.data}")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if any(mark.encode() in told for mark in marks):
            found.append(f"{entry.name} {told[:80]!r}")
    return found


def test_it_says_when_it_is_ready_and_everything_then_is(stack: Stack) -> None:
    assert f"Headgate is ready on {stack.url}" in stack.output
    assert f"  Console    {stack.url}/" in stack.output
    assert any("HEADGATE_EGRESS_ALLOW" in line for line in stack.output)
    assert [greeting(stack, gateway=index) for index in (0, 1)] == ["Hello, Ada!"] * 2


def test_a_key_that_was_given_is_not_printed(stack: Stack) -> None:
    assert GIVEN_KEY not in "\n".join(stack.output)
    assert stack.admin_key == GIVEN_KEY


@pytest.mark.skipif(not shutil.which("curl"), reason="the printed line needs curl")
def test_the_printed_curl_line_works_when_pasted(stack: Stack) -> None:
    line = next(line for line in stack.output if line.strip().startswith("curl "))
    done = subprocess.run(["sh", "-c", line], cwd="/", capture_output=True, check=True, timeout=20)
    assert json.loads(done.stdout)["output"] == "Hello, Ada!"


def test_every_process_is_listed_and_answers(stack: Stack) -> None:
    listed = {(each["service"], each["index"]): each for each in stack.processes()}
    services = [("auth", 0), ("executor", 0), ("gateway", 0), ("gateway", 1), ("notifier", 0)]
    assert sorted(listed) == [*services[:4], ("nats", 0), ("notifier", 0), ("postgres", 0)]
    assert [listed["gateway", index]["url"] for index in (0, 1)] == stack.urls
    for service in services:
        for path in ("/healthz", "/readyz", "/metrics"):
            with urllib.request.urlopen(listed[service]["url"] + path, timeout=5) as answer:
                body = answer.read().decode()
        assert "headgate_" in body


@pytest.mark.parametrize("service", ["auth", "executor", "gateway", "notifier", "nats", "postgres"])
def test_what_is_killed_comes_back_and_runs_go_on(stack: Stack, service: str) -> None:
    stack.restarted(service, 0, stack.kill(service, 0))
    for each in ("auth", "executor", "gateway"):
        stack.restarted(each, 0, old_pid=0)
    assert greeting(stack) == "Hello, Ada!"


def test_logs_are_json_lines_without_secrets(stack: Stack) -> None:
    secrets = [stack.admin_key, (stack.data / "master.key").read_text().strip()]
    secrets.append((stack.data / "postgres" / "password").read_text())
    for service in ("gateway", "auth", "executor", "notifier"):
        lines = stack.log(service).splitlines()
        assert lines
        assert all(isinstance(json.loads(line), dict) for line in lines)
    everything = "".join(file.read_text() for file in (stack.data / "logs").iterdir())
    assert not any(secret in everything for secret in secrets)


def refused(stack: Stack, **changes: str) -> str:
    """What a second `headgate up` with the environment of the first says, as it does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", "up"],
        env=stack.environment | changes,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_second_one_on_the_same_data_is_refused(stack: Stack) -> None:
    assert "another headgate runs on" in refused(stack)


def test_a_port_in_use_is_named(stack: Stack, tmp_path: Path) -> None:
    assert f"port {stack.port} is in use" in refused(stack, HEADGATE_DATA=str(tmp_path))


def test_a_bad_admin_key_is_refused(tmp_path: Path) -> None:
    stack = Stack(tmp_path, env={"HEADGATE_ADMIN_KEY": "sk-short"})
    with pytest.raises(StackFailedError, match="HEADGATE_ADMIN_KEY must"):
        stack.start()


def test_state_outlives_a_stop_and_a_crash_and_both_starts_are_quick(tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    write_greeter(flows)
    with Stack(tmp_path / "data", flows=flows) as stack:
        key = stack.admin_key
        assert sum(key in line for line in stack.output) == 1
        run = call(stack, "POST", "/v1/deployments/greeter/runs", {"input": {"name": "Ada"}})
        began = time.monotonic()
        assert stack.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 20
        assert alive(stack) == []
        assert stack.processes() == []

        stack.start()
        assert stack.ready_after_seconds < 5
        assert key not in "\n".join(stack.output)
        assert call(stack, "GET", f"/v1/runs/{run['id']}")["output"] == "Hello, Ada!"
        stack.crash()

        stack.start()
        assert stack.ready_after_seconds < 10
        assert call(stack, "GET", f"/v1/runs/{run['id']}")["output"] == "Hello, Ada!"
        assert greeting(stack) == "Hello, Ada!"
        assert stack.stop(signal.SIGTERM) == 0
        assert alive(stack) == []


def test_a_changed_flow_file_is_deployed_at_the_next_start_and_an_unchanged_one_left_alone(tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    write_greeter(flows)
    with Stack(tmp_path / "data", flows=flows) as stack:
        stack.stop()
        stack.start()
        assert call(stack, "GET", "/v1/flows/greeter")["version"] == 1
        stack.stop()
        write_greeter(flows, text="Good day, {{ in.name }}.")
        stack.start()
        assert greeting(stack) == "Good day, Ada."
        assert len(call(stack, "GET", "/v1/deployments")["data"]) == 1


def test_a_flow_file_that_is_wrong_is_named_and_stops_nothing(tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    write_greeter(flows)
    write_greeter(flows, slug="broken", text="{{ nowhere.name }}")
    with Stack(tmp_path / "data", flows=flows) as stack:
        told = "\n".join(stack.output)
        assert f"{flows / 'broken.json'} was not loaded" in told
        assert "/nodes/1/config/text" in told
        assert greeting(stack) == "Hello, Ada!"


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        os.kill(stack.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while alive(stack):
            assert time.monotonic() < deadline, alive(stack)
            time.sleep(0.05)


def test_servers_that_are_named_are_used_and_not_started(stack: Stack, tmp_path: Path) -> None:
    monitor = stack.process("nats")["url"]
    with urllib.request.urlopen(f"{monitor}/varz", timeout=5) as answer:
        port = json.loads(answer.read())["port"]
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    password = (stack.data / "postgres" / "password").read_text()
    dsn = stack.process("postgres")["url"].replace("://", f"://headgate:{password}@")
    shared = {"HEADGATE_NATS_URL": f"nats://127.0.0.1:{port}", "HEADGATE_POSTGRES_DSN": dsn}
    shutil.copy(stack.data / "master.key", tmp_path / "master.key")
    with Stack(tmp_path, env={**shared, "HEADGATE_ADMIN_KEY": GIVEN_KEY}) as second:
        assert {each["service"] for each in second.processes()} == {"gateway", "auth", "executor", "notifier"}
        assert greeting(second) == "Hello, Ada!"
