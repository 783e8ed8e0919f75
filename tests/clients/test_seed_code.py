"""The code of the Langflow text runs as it is printed there, with nothing changed but address, id and key."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from tests.clients.node import run_program
from tests.clients.speakers import KEY
from tests.clients.wire import Wire, answer

CLIENTS = Path(__file__).resolve().parents[2] / "clients"
FLOW = "POST /langflow/api/v1/flows/greeter/run"
RESULT = {
    "result": {"output": "Hello to you!"},
    "session_id": "abc123",
    "metadata": {"duration": 1.2, "tokens_used": 45},
}

PYTHON = """
from langflow import Client
client = Client(
    base_url="your-workspace-url",
    api_key="your-api-key"
)
result = client.run_flow(
    flow_id="your-flow-id",
    input_value="Hello!",
    tweaks={
        "OpenAI-xxxxx": {"temperature": 0.5}
    }
)
print(result.output)
"""
JAVASCRIPT = """
import { LangflowClient } from 'langflow-client';
const client = new LangflowClient({
baseUrl: 'your-workspace-url',
apiKey: 'your-api-key'
});
const result = await client.runFlow({
flowId: 'your-flow-id',
inputValue: 'Hello!'
});
console.log(result.output);
"""


def told(code: str, wire: Wire) -> str:
    for placeholder, value in {"workspace-url": wire.url, "flow-id": "greeter", "api-key": KEY}.items():
        code = code.replace(f"your-{placeholder}", value)
    return code


async def test_python(wire: Wire, tmp_path: Path) -> None:
    wire.answer(FLOW, answer(200, RESULT))
    packages = [str(CLIENTS / "python"), str(CLIENTS / "python/langflow_shim")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(packages)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", told(PYTHON, wire), stdout=asyncio.subprocess.PIPE, env=environment, cwd=tmp_path
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert out.decode().strip() == "Hello to you!"
    [request] = wire.received
    assert request.body == {"input_value": "Hello!", "tweaks": {"OpenAI-xxxxx": {"temperature": 0.5}}}
    assert request.headers["authorization"] == f"Bearer {KEY}"


async def test_javascript(wire: Wire, tmp_path: Path) -> None:
    wire.answer(FLOW, answer(200, RESULT))
    installed = tmp_path / "node_modules"
    shutil.copytree(CLIENTS / "js/langflow-client", installed / "langflow-client")
    shutil.copytree(CLIENTS / "js", installed / "headgate-client", ignore=shutil.ignore_patterns("langflow-client"))
    script = tmp_path / "seed.mjs"
    script.write_text(told(JAVASCRIPT, wire))
    assert (await run_program(script)).strip() == "Hello to you!"
    [request] = wire.received
    assert request.body == {"input_value": "Hello!"}
    assert request.headers["authorization"] == f"Bearer {KEY}"
