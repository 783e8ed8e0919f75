"""The programs in the READMEs do what they say, pasted as they are: only the port is another."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.node import run_program
from tests.clients.test_seed_code import CLIENTS
from tests.stack import Stack


@pytest.fixture
def place(stack: Stack, tmp_path: Path) -> Path:
    """A directory that looks like the checkout while `make run` runs there."""
    (tmp_path / ".headgate").symlink_to(stack.data)
    return tmp_path


def programs(readme: str, language: str, stack: Stack) -> list[str]:
    """Those that call the server."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", (CLIENTS / readme).read_text(), re.DOTALL)
    return [block.replace("http://127.0.0.1:8080", stack.url) for block in blocks if "8080" in block]


async def test_python(stack: Stack, place: Path) -> None:
    blocking, asynchronous = programs("python/README.md", "python", stack)
    lines = (await run_python(blocking, place)).splitlines()
    assert lines[0] == "Hello, Ada!"
    assert lines[1] == "1 run.requested None"
    assert lines[-2].endswith("run.completed None")
    assert lines[-1] == "completed"
    assert await run_python(asynchronous, place) == "['Hello, Ada!', 'Hello, Bob!', 'Hello, Cleo!']\n"


async def test_javascript(stack: Stack, place: Path) -> None:
    shutil.copytree(CLIENTS / "js", place / "node_modules/headgate-client")
    [program] = programs("js/README.md", "js", stack)
    script = place / "program.mjs"
    script.write_text(program)
    lines = (await run_program(script)).splitlines()
    assert lines[0] == "Hello, Ada!"
    assert lines[1] == "1 run.requested null"
    assert lines[-2].endswith("run.completed null")
    assert lines[-1] == "completed"


async def run_python(program: str, directory: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CLIENTS / "python")},
        cwd=directory,
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
