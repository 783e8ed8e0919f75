"""The seeds' samples, run as their users would: with curl in a shell, in Python, in Node."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SAMPLES = Path(__file__).parent / "samples"
_SECONDS = 30.0

CURLRC = 'silent\nshow-error\nno-buffer\nwrite-out = "\\n%{http_code}"\n'
"""Curl's own settings: no progress, and the status after the body."""


def sample(name: str, replacements: dict[str, str]) -> str:
    """A sample with the host, the key and the id in it; each of the replaced words must be there."""
    text = (_SAMPLES / f"{name}.txt").read_text()
    for word, other in replacements.items():
        assert word in text, f"{name} does not say {word}"
        text = text.replace(word, other)
    return text


class Shell:
    """A user's machine, with a home of its own."""

    def __init__(self, home: Path) -> None:
        (home / ".curlrc").write_text(CURLRC)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
        self._home = home

    def curl(self, text: str) -> tuple[int, str]:
        """Paste a curl line: the status and the body of the answer."""
        _tool("curl")
        printed = self._run([_tool("bash"), "-c", text])
        body, _, status = printed.rpartition("\n")
        return int(status), body

    def python(self, text: str) -> list[str]:
        """Save and run a Python program: the lines it prints."""
        return self._run([sys.executable, "-"], text).splitlines()

    def node(self, text: str) -> list[str]:
        """The same for a JavaScript module."""
        return self._run([_tool("node"), "--input-type=module", "-"], text).splitlines()

    def _run(self, command: list[str], text: str | None = None) -> str:
        done = subprocess.run(
            command,
            input=text or "",
            env=self._environment,
            cwd=self._home,
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found
