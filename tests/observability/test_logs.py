"""What processes log: a line a run, in JSON, with the ids that it is found by and without what nobody may read."""

import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cli.up.screen import Screen
from tests.e2e.caller import Caller, calling, until
from tests.e2e.flows import chain, http, output, prompt, template
from tests.e2e.model import model
from tests.observability.conftest import PLANTED
from tests.observability.scrape import SERVICES
from tests.stack import Stack

SECRET = "a-secret-value-nobody-may-read"
INPUT = "an-input-nobody-may-read"


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as found:
        yield found


def lines(stack: Stack, service: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.log(service).splitlines()]


async def line_of(stack: Stack, run_id: str) -> dict[str, Any]:
    """The one line that says that a run ended."""

    async def there() -> bool:
        return any(each.get("run_id") == run_id for each in lines(stack, "executor"))

    await until(there)
    (found,) = [
        each for each in lines(stack, "executor") if each.get("run_id") == run_id and each["event"] == "run ended"
    ]
    return found


async def test_every_run_is_one_line_at_the_default_level(stack: Stack, caller: Caller) -> None:
    pure = await caller.deploy(chain(template("hi", "x"), output("{{ hi.text }}")))
    failing = await caller.deploy(chain(prompt("llm", "nobody/x"), output("{{ llm.text }}")))
    for deployment, outcome in ((pure, "completed"), (failing, "failed")):
        run = (await caller.start(deployment)).body
        line = await line_of(stack, run["id"])
        assert (line["outcome"], line["flow_id"], line["level"]) == (outcome, run["flow_id"], "info")
        assert line["service"] == "executor"
        assert line["timestamp"].endswith("Z")
        assert line["duration_seconds"] == pytest.approx(run["duration_seconds"])


async def test_a_line_of_a_run_reads_as_any_other_on_a_terminal(stack: Stack, caller: Caller) -> None:
    deployment = await caller.deploy(chain(template("hi", "x"), output("{{ hi.text }}")))
    run_id = (await caller.start(deployment)).run_id
    line = await line_of(stack, run_id)
    terminal = io.StringIO()
    Screen(terminal).show("executor-0", json.dumps(line))
    shown = terminal.getvalue()
    assert "executor-0" in shown
    assert f"info     run ended  run_id={run_id}" in shown
    assert "outcome=completed" in shown
    await until(lambda: _printed(stack, run_id))


async def _printed(stack: Stack, run_id: str) -> bool:
    return any(run_id in line and "run ended" in line for line in stack.output)


async def test_no_key_no_secret_and_no_input_is_logged_whatever_fails(
    stack: Stack, caller: Caller, model_port: int
) -> None:
    assert (await caller.call("PUT", "/v1/secrets/logged", {"value": SECRET})).status in (200, 201, 204)
    url = f"http://127.0.0.1:{model_port}/{{{{ secret.logged }}}}"
    flow = chain(http("web", url, retry={"max_attempts": 1}), prompt("llm", "openai/x"), output("{{ llm.text }}"))
    deployment = await caller.deploy(flow)
    failed = await caller.start(deployment, INPUT)
    assert failed.body["status"] == "failed"
    async with model(model_port, ["an", "swer"]):
        asked = await caller.deploy(chain(prompt("llm", "openai/x", "{{ secret.logged }}"), output("{{ llm.text }}")))
        assert (await caller.start(asked, INPUT)).body["status"] == "completed"
    refused = await caller.call("GET", "/v1/runs", headers={"X-API-Key": "sk-" + "w" * 40})
    assert refused.status == 401
    await caller.call("POST", f"/v1/deployments/{deployment}/runs", {"input": INPUT})
    await line_of(stack, failed.run_id)
    written = "".join(stack.log(service) for service in SERVICES) + "\n".join(stack.output[-2000:])
    for canary in (SECRET, INPUT, PLANTED, "sk-" + "w" * 40):
        assert canary not in written
    assert stack.admin_key not in "".join(stack.log(service) for service in SERVICES)


def test_a_process_that_ends_writes_what_waits() -> None:
    text = """
import asyncio
from libs.runtime.lines import configure_lines, tell_often, write_lines
async def main():
    configure_lines("executor", "executor-0", told=True)
    tell_often("run ended", {"run_id": "run_1"})
    tell_often("run ended", {"run_id": "run_2"})
try:
    asyncio.run(main())
finally:
    write_lines()
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=20, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["run_id"] for each in told] == ["run_1", "run_2"]
    assert {each["level"] for each in told} == {"info"}


def test_lines_are_written_in_time_without_another_one() -> None:
    text = """
import asyncio
from libs.runtime.lines import configure_lines, tell_often
async def main():
    configure_lines("executor", "executor-0", told=True)
    tell_often("run ended", {"run_id": "run_1"})
    await asyncio.sleep(3600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"run_1" in process.stdout.readline()
        process.kill()
