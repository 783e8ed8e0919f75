"""The input of a run on the command line, and the curl lines that are printed."""

import shlex
import subprocess
from pathlib import Path

import pytest

from cli.curl import key_in, start_run
from cli.documents import sample_input
from cli.failures import CommandError
from cli.inputs import read_input


def test_fields_are_laid_over_the_document() -> None:
    assert read_input('{"name": "Ada", "n": 1}', ["name=Bob=b", "n:=2", "list:=[1]"]) == {
        "name": "Bob=b",
        "n": 2,
        "list": [1],
    }


def test_a_document_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"a": 1}')
    assert read_input(f"@{tmp_path / 'in.json'}", []) == {"a": 1}


@pytest.mark.parametrize(
    ("document", "fields"), [("[1]", []), ("{", []), ("", ["name"]), ("", ["n:=x"]), ("@/none", [])]
)
def test_what_is_no_input_is_explained(document: str, fields: list[str]) -> None:
    with pytest.raises(CommandError):
        read_input(document, fields)


def test_a_sample_takes_test_values_then_defaults() -> None:
    fields = [{"name": "a", "test_value": 1, "default": 2}, {"name": "b", "default": 3}, {"name": "c"}]
    assert sample_input({"nodes": [{"type": "api_input", "config": {"fields": fields}}]}) == {"a": 1, "b": 3}


def test_a_curl_line_survives_the_shell_whatever_it_holds(tmp_path: Path) -> None:
    home = tmp_path / 'it\'s $HOME "here"'
    home.mkdir()
    (home / "admin.key").write_text("sk-abc\n")
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    curl.chmod(0o755)
    line = start_run("http://h", "greeter", key_in(home / "admin.key"), {"name": 'O\'Neil $(id) "x"'})
    said = subprocess.run(
        ["sh", "-c", line],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "Authorization: Bearer sk-abc" in said
    assert said[-1] == '{"input":{"name":"O\'Neil $(id) \\"x\\""}}'
    assert "sk-abc" not in line
    assert shlex.split(line)[0] == "curl"
