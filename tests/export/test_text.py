"""The text of an exported file: sound, minimal, the same each time, and holding nothing it should not."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest

from libs.flows import NODE_TYPES, load
from libs.flows.export import export_python
from libs.flows.export.bundle import REQUIREMENTS
from tests.export.flows import PURE
from tests.export.processes import in_this_process, libraries_imported, metadata_of, requirements_of
from tests.flows.documents import chain, document, edge, greeter, node

_ROOT = Path(__file__).parents[2]
_EVERYTHING = document(
    [
        node("in", "api_input", {"fields": [
            {"name": "file", "type": "file"},
            {"name": "zip", "pattern": r"^\d{5}$"},
            {"name": "odd", "pattern": r"\p{L}"},
        ]}),
        node("more", "api_input", {"fields": [{"name": "x"}]}),
        node("t", "template", {"text": "{{ in.x | upper | lower | trim | json | length | urlencode | default:1 }}"}),
        node("r", "transform", {"expression": "in.x"}),
        node("c", "condition", {"cases": [{"port": "p", "when": "in.x"}]}),
        node("e", "prompt", {"model": "echo/e", "prompt": "{{ secret.token }}"}),
        node("m", "prompt", {"model": "openai/m", "prompt": "x"}),
        node("h", "http_request", {"url": "http://{{ in.host }}/{{ in.x }}"}),
        node("w", "web_scraper", {"url": "https://example.com/"}),
        node("d", "delay", {"seconds": "{{ in.x }}"}),
        node("o", "api_output", {"value": ["{{ m }}", "{{ c.port }}"]}),
    ],
    [edge("in", each) for each in "trcmehwd"] + [edge("m", "o"), edge("c", "o", "p")],
    name="Everything",
)  # fmt: skip
_DOCUMENTS: dict[str, dict[str, Any]] = {
    "everything": _EVERYTHING,
    "greeter": greeter(),
    **{path.stem: json.loads(path.read_text()) for path in sorted((_ROOT / "examples" / "flows").glob("*.json"))},
    **{name: document for name, (document, _) in PURE.items()},
}
_HOSTILE = (
    'a """ \'\'\' \\ """"" \\" \n# /// script\n# dependencies = ["evil"]\n# ///\n\r# \u2028 \u202e \x00 \x0c import os;'
    " os.abort()"
)


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Every document's file."""
    return {name: export_python(load(document)) for name, document in _DOCUMENTS.items()}


def test_every_node_type_has_its_code() -> None:
    refused = {"retriever"}  # a file has no collections
    assert {each["type"] for each in _EVERYTHING["nodes"]} == NODE_TYPES.keys() - refused


def test_files_are_clean_by_the_linter(sources: dict[str, str], tmp_path: Path) -> None:
    for at, source in enumerate(sources.values()):
        (tmp_path / f"flow_{at}.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--target-version", "py311"]
    found = subprocess.run([*ruff, "--select", "F,E9,E7,I,B,PLE", str(tmp_path)], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_files_need_the_libraries_they_name_and_name_no_other(sources: dict[str, str]) -> None:
    homes = packages_distributions()
    for source in sources.values():
        needed = {homes[library][0].lower().replace("_", "-") for library in libraries_imported(source)}
        assert needed == set(requirements_of(source))
        assert metadata_of(source)["requires-python"] == ">=3.11"


def test_a_flow_of_templates_needs_no_library_and_no_network(sources: dict[str, str]) -> None:
    assert libraries_imported(sources["greeter"]) == set()
    assert "http" not in sources["greeter"]
    assert len(sources["greeter"]) < len(sources["triage"])
    assert requirements_of(sources["triage"]) == ["jmespath"]


def test_the_named_versions_are_those_the_service_uses() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for requirement in REQUIREMENTS.values():
        name, low, high = re.split(r">=|,<", requirement)
        assert name in project
        numbers = [[int(part) for part in text.split(".")] for text in (low, version(name), high)]
        assert numbers == sorted(numbers)


def test_the_same_flow_gives_the_same_text_in_every_process() -> None:
    program = (
        "import json, sys; from libs.flows import load; from libs.flows.export import export_python;"
        "sys.stdout.buffer.write(export_python(load(json.load(sys.stdin))).encode())"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program], input=json.dumps(_EVERYTHING).encode(),
            capture_output=True, check=True, cwd=_ROOT, env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert texts == {export_python(load(_EVERYTHING)).encode()}


def test_exporting_loads_no_library_of_the_file() -> None:
    program = "import sys, libs.flows.export; print(*sorted({'genai_prices', 'pydantic'} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=_ROOT, text=True)
    assert found.stdout.strip() == ""


def test_what_users_write_is_data_wherever_they_write_it() -> None:
    document = chain(
        node("in", "api_input", {"fields": [
            {"name": "a\"\\é\u202e", "description": _HOSTILE, "default": _HOSTILE, "enum": [_HOSTILE]},
        ]}, name=_HOSTILE[:99]),
        node("t", "template", {"text": _HOSTILE}, name="/// script"),
        node("out", "api_output", {"value": {_HOSTILE: ["{{ t.text }}", _HOSTILE]}}),
    )  # fmt: skip
    flow = load({**document, "name": _HOSTILE, "description": f"{_HOSTILE}\n{_HOSTILE}", "slug": "x"})
    source = export_python(flow)
    assert metadata_of(source)["dependencies"] == []
    plain = chain(
        node("in", "api_input"),
        node("t", "template", {"text": "x"}),
        node("out", "api_output", {"value": {"x": ["{{ t.text }}", 1]}}),
    )
    assert _names(source) == _names(export_python(load(plain)))
    assert all(line.isprintable() for line in source.split("\n"))
    assert in_this_process({**document, "name": _HOSTILE}).run({}) == {_HOSTILE: [_HOSTILE, _HOSTILE]}


def test_help_says_what_a_person_needs_to_run_it() -> None:
    fields = [
        {"name": "q", "required": True, "description": "The question", "test_value": "it's"},
        {"name": "n", "type": "integer", "default": 3},
    ]
    document = chain(
        node("in", "api_input", {"fields": fields}),
        node("llm", "prompt", {"model": "openai/m", "prompt": "{{ in.q }} {{ secret.token }}", "history": True}),
        node("out", "api_output", {"value": "{{ llm.text }}", "callback_url": "https://example.com/"}),
    )
    about = in_this_process({**document, "slug": "asker", "description": "Asks."}).__doc__ or ""
    for line in (
        "Asks.",
        '    python asker.py \'{"q":"it\'"\'"\'s","n":3}\'',
        "    q (string, required): The question",
        "    n (integer, by default 3)",
        "    OPENAI_API_KEY: its key",
        "    HEADGATE_SECRET_TOKEN: the secret token",
        "    sessions: each run stands alone, without earlier turns",
        "    deliveries: nobody is called back or sent an email",
    ):
        assert line in about.split("\n"), about


def test_no_value_of_a_secret_is_in_a_file(sources: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_SECRET_TOKEN", "hidden-value")
    monkeypatch.setenv("OPENAI_API_KEY", "hidden-value")
    assert export_python(load(_EVERYTHING)) == sources["everything"]
    assert "hidden-value" not in sources["everything"]


def _names(source: str) -> set[str]:
    """Every name that the code of a file uses."""
    return {each.id for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Name)}
