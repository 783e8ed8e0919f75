"""The JavaScript client in a real Node: one process that carries out calls, or a program of its own."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

_DRIVER = Path(__file__).with_name("drive.mjs")
_SECONDS = 30.0


class Node:
    """A process that answers one call after the other; starting one for each would take most of the tests' time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", str(_DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    async def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What the call came to: `result`, or `error`. TimeoutError, and no further answers, after 30 s."""
        answer = asyncio.create_task(asyncio.to_thread(self._exchange, json.dumps(asked)))
        done, _ = await asyncio.wait([answer], timeout=_SECONDS)
        if not done:
            self._process.kill()
            raise TimeoutError(f"no answer to {asked.get('method')}")
        found: dict[str, Any] = json.loads(await answer)
        assert "error" not in found or found["error"]["name"] != "Crash", found["error"]["detail"]
        return found

    def stop(self) -> None:
        """End it."""
        self._process.communicate(timeout=_SECONDS)

    def _exchange(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


async def run_program(program: Path) -> str:
    """What a program prints, run where it lies. AssertionError with its complaint when it fails."""
    process = await asyncio.create_subprocess_exec(
        "node", str(program), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=program.parent
    )
    try:
        async with asyncio.timeout(_SECONDS):
            out, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaint.decode()
    return out.decode()
