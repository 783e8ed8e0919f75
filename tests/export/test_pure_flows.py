"""Flows that reach nothing outside answer from their file what they answer from the service."""

import asyncio
import itertools
import json
from pathlib import Path

import pytest

from libs.flows import load, sample_input
from tests.export.engine import Ran, by_engine, performer
from tests.export.flows import PURE
from tests.export.processes import by_file, in_this_process
from tests.flows.documents import greeter

_EXAMPLES = Path(__file__).parents[2] / "examples" / "flows"


@pytest.mark.parametrize("name", PURE)
async def test_a_file_answers_as_the_service_does(name: str, tmp_path: Path) -> None:
    document, inputs = PURE[name]
    async with performer({}) as performs:
        wanted = [await by_engine(document, each, performs) for each in inputs]
    places = [tmp_path / str(at) for at in range(len(inputs))]
    for place in places:
        place.mkdir()
    found = await asyncio.gather(*map(by_file, places, itertools.repeat(document), map(json.dumps, inputs)))
    assert [(ran.status, ran.output) for ran in found] == [(ran.status, ran.output) for ran in wanted], found
    assert [ran.said for ran in found if ran.status != 2] == [ran.said for ran in wanted if ran.status != 2]


@pytest.mark.parametrize("example", ["greeter", "fan-out"])
async def test_examples_answer_as_the_service_does(example: str, tmp_path: Path) -> None:
    document = json.loads((_EXAMPLES / f"{example}.json").read_text())
    given = sample_input(load(document))
    async with performer({}) as performs:
        wanted = await by_engine(document, given, performs)
    assert await by_file(tmp_path, document, json.dumps(given)) == wanted
    assert wanted.status == 0


async def test_the_input_may_come_from_standard_input(tmp_path: Path) -> None:
    assert (await by_file(tmp_path, greeter(), "-", stdin='{"name": "Zoë"}'.encode())).output == "Hello, Zoë!"


async def test_output_is_utf_8_whatever_the_terminal_speaks(tmp_path: Path) -> None:
    environment = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    assert (await by_file(tmp_path, greeter(), '{"name": "Zoë"}', environment=environment)).output == "Hello, Zoë!"


async def test_a_wrong_input_ends_with_status_2_and_its_faults(tmp_path: Path) -> None:
    refused = await by_file(tmp_path, greeter(), '{"name": 5}')
    assert (refused.status, refused.said) == (2, "name: must be string\n")
    assert (await by_file(tmp_path, greeter())).said == "name: is required\n"


@pytest.mark.parametrize(
    "source",
    ["{", "NaN", '{"name": NaN}', '{"name": "\\ud800"}', '{"name": 1e999}', "[" * 5000, '{"name": "a\nb"}', "\ufeff{}"],
)
async def test_what_is_no_json_ends_with_status_2(source: str, tmp_path: Path) -> None:
    assert await by_file(tmp_path, greeter(), source) == _refused("is not JSON")


async def test_more_than_one_argument_is_refused(tmp_path: Path) -> None:
    found = await by_file(tmp_path, greeter(), '{"name":', '"Ada"}')
    assert (found.status, "one argument" in found.said) == (2, True)


@pytest.mark.parametrize(("depth", "status"), [(127, 0), (129, 2), (900, 2)])
async def test_the_depth_of_an_input_is_bounded(depth: int, status: int, tmp_path: Path) -> None:
    document = {**greeter(), "nodes": [{"id": "in", "type": "api_input"}], "edges": []}
    found = await by_file(tmp_path, document, '{"a":' + "[" * depth + "]" * depth + "}")
    assert (found.status, found.said) == (status, "a: is nested more than 128 levels deep\n" if status else "")


def test_a_file_can_be_imported_and_called() -> None:
    assert in_this_process(greeter()).run({"name": "Ada"}) == "Hello, Ada!"


def _refused(detail: str) -> Ran:
    return Ran(status=2, said=f"input: {detail}\n")
