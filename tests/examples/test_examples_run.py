"""Every snippet runs as printed, with nothing changed but the masked key."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway.snippets.calls import CALLS
from tests.e2e.caller import Caller, calling
from tests.stack import Stack

NAME = 'O\'Brien "$HOME" `id` \\n {{ x }} «key» ü'
GREETING = f"Hello, {NAME}!"
LANGUAGES = {"curl": ["sh"], "python": [sys.executable], "javascript": ["node"]}
SUFFIX = {"curl": ".sh", "python": ".py", "javascript": ".js"}


def greeter(*fields: dict[str, Any]) -> dict[str, Any]:
    """Greets by name; `fields` besides."""
    name = {"name": "name", "type": "string", "required": True, "max_length": 200, "test_value": NAME}
    return {
        "name": f"Greeter {len(fields)} \"\"\" ''' */",
        "nodes": [
            {"id": "in", "type": "api_input", "config": {"fields": [name, *fields]}},
            {"id": "hi", "type": "prompt", "config": {"model": "echo/echo", "prompt": "Hello, {{ in.name }}!"}},
            {"id": "out", "type": "api_output", "config": {"value": "{{ hi.text }}"}},
        ],
        "edges": [{"source": "in", "target": "hi"}, {"source": "hi", "target": "out"}],
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("examples"), env={"HEADGATE_FSYNC": "interval"}) as running:
        yield running


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as caller:
        yield caller


async def deploy(admin: Caller, document: dict[str, Any], **settings: Any) -> dict[str, Any]:
    saved = await admin.call("POST", "/v1/flows/import", document)
    deployed = await admin.call("POST", f"/v1/flows/{saved.body['id']}/deployments", settings)
    assert deployed.status == 201, deployed.body
    found: dict[str, Any] = deployed.body
    return found


async def run_all(admin: Caller, deployment: dict[str, Any], directory: Path) -> dict[tuple[str, str], str]:
    """What each snippet prints, by dialect and language; run as files, a few at a time."""
    answer = await admin.call("GET", f"/v1/deployments/{deployment['id']}/examples")
    assert answer.status == 200
    key = deployment["api_key"]
    masked = f"{key[:8]}********{key[-5:]}"
    room = asyncio.Semaphore(4)

    async def execute(dialect: str, language: str, text: str) -> str:
        assert masked in text
        assert key not in text
        file = directory / f"{dialect}{SUFFIX[language]}"
        file.write_text(text.replace(masked, key))
        environment = {"PATH": os.environ["PATH"], "HOME": "/", "PYTHONIOENCODING": "utf-8"}
        async with room:
            process = await asyncio.create_subprocess_exec(
                *LANGUAGES[language],
                str(file),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
            )
            async with asyncio.timeout(40):
                out, error = await process.communicate()
        assert process.returncode == 0, f"{dialect} {language}: {error.decode()}"
        return out.decode()

    calls = {(dialect, language): text for dialect, by in answer.body.items() for language, text in by.items()}
    assert set(calls) == {(dialect, language) for dialect in CALLS for language in LANGUAGES}
    printed = await asyncio.gather(*[execute(*which, text) for which, text in calls.items()])
    return dict(zip(calls, printed, strict=True))


pytestmark = pytest.mark.skipif(not shutil.which("node") or not shutil.which("curl"), reason="needs node and curl")


async def test_of_a_synchronous_deployment_all_print_the_result(admin: Caller, tmp_path: Path) -> None:
    printed = await run_all(admin, await deploy(admin, greeter()), tmp_path)
    for (dialect, language), text in printed.items():
        told = json.dumps(json.loads(text), ensure_ascii=False) if language == "curl" else text
        expected = json.dumps(GREETING, ensure_ascii=False)[1:-1] if language == "curl" else GREETING
        assert expected in told, (dialect, language)


async def test_of_an_asynchronous_deployment_all_say_what_its_dialect_does(admin: Caller, tmp_path: Path) -> None:
    printed = await run_all(admin, await deploy(admin, greeter(), mode="async"), tmp_path)
    for language in LANGUAGES:
        assert "Hello, O" in printed["native", language]
        assert "Hello, O" in printed["evaligo", language]
        assert "run_" in printed["aicuflow", language]
        assert "queued" in printed["fluxprompt", language]


async def test_of_a_streaming_deployment_the_events_are_printed_as_they_come(admin: Caller, tmp_path: Path) -> None:
    printed = await run_all(admin, await deploy(admin, greeter(), mode="stream"), tmp_path)
    for language in LANGUAGES:
        assert "run.requested" in printed["native", language]
        assert "run.completed" in printed["native", language]
        assert "start_node" in printed["flowai", language]
        assert "total_time" in printed["flowai", language]


async def test_of_a_flow_with_many_fields_all_run(admin: Caller, tmp_path: Path) -> None:
    fields = (
        {"name": "count", "type": "integer", "required": True, "minimum": 3, "test_value": 3},
        {"name": "ratio", "type": "number", "required": True, "test_value": 1e-7},
        {"name": "loud", "type": "boolean", "required": True, "test_value": False},
        {"name": "tags", "type": "array", "required": True, "test_value": ["'", None, {"a": [1, True]}]},
        {"name": "more", "type": "object", "required": True, "test_value": {"from": "x", "nested": {"é": "\n"}}},
        {"name": "code", "type": "string", "pattern": "^[0-9]+$"},
    )
    printed = await run_all(admin, await deploy(admin, greeter(*fields)), tmp_path)
    for (dialect, language), text in printed.items():
        assert ("run_" if dialect == "langflow" else "Hello, O") in text, (dialect, language)


async def test_the_key_is_masked_as_lists_show_it_and_follows_a_rotation(admin: Caller) -> None:
    deployment = await deploy(admin, greeter())
    keys = (await admin.call("GET", "/v1/keys?limit=100")).body["data"]
    (key,) = [each for each in keys if each["deployment_ids"] == [deployment["id"]]]
    path = f"/v1/deployments/{deployment['id']}/examples"
    assert key["masked"] in (await admin.call("GET", path)).body["native"]["curl"]
    turned = (await admin.call("POST", f"/v1/keys/{key['id']}/rotate", {})).body
    text = (await admin.call("GET", path)).body["native"]["curl"]
    assert turned["masked"] in text
    assert turned["key"] not in text
    await admin.call("DELETE", f"/v1/keys/{key['id']}")
    assert "sk-YOUR_API_KEY" in (await admin.call("GET", path)).body["native"]["curl"]


async def test_examples_are_of_the_version_that_is_deployed(admin: Caller) -> None:
    deployment = await deploy(admin, greeter())
    newer = greeter()
    newer["nodes"][0]["config"]["fields"][0]["test_value"] = "Newer"
    await admin.call("PUT", f"/v1/flows/{deployment['flow_id']}", newer)
    path = f"/v1/deployments/{deployment['id']}"
    assert "Newer" not in (await admin.call("GET", f"{path}/examples")).body["evaligo"]["curl"]
    await admin.call("PATCH", path, {"version": 2})
    assert "Newer" in (await admin.call("GET", f"{path}/examples")).body["evaligo"]["curl"]
