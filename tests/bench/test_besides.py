"""What is measured besides synchronous runs: its flows, its readers, its generator, its tables."""

import asyncio
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench import wrk
from bench.chart import draw
from bench.extras import _model_server, _request
from bench.load import Order
from bench.readers import StreamOrder, stream
from bench.report import Cell, Extras, FirstWord, Million, PeerRow, Plan, Shape, Streams, report
from bench.shapes import SHAPES
from bench.table import show
from libs.flows import compile_flow, deployable, load
from tests.bench.test_report import MACHINE, cell


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_shape_is_a_flow_that_takes_its_input_and_goes_straight(shape: object) -> None:
    flow = load(shape.flow)  # type: ignore[attr-defined]  # a Shape
    compiled = compile_flow(flow)
    assert not deployable(flow)
    assert compiled.read_input(shape.input)  # type: ignore[attr-defined]
    assert len(compiled.straight) == len(flow.nodes)


async def test_streams_are_read_to_their_end_and_their_first_words_are_timed(tmp_path: Path) -> None:
    with _model_server(tmp_path) as port:
        request = _request("POST", "/v1/chat/completions", {}, "{}")
        found = await stream(StreamOrder(port=port, request=request, mark="word", streams=3, times=2))

        assert found.frames == 6 * 22
        assert len(found.firsts_milliseconds) == 6
        assert all(0 < first < found.seconds * 1000 for first in found.firsts_milliseconds)
        with pytest.raises(ValueError, match="without"):
            await stream(StreamOrder(port=port, request=request, mark="never said"))


def test_wrk_is_told_everything_in_a_script_and_its_words_are_read() -> None:
    order = Order(
        port=1, path="/x", headers={"A": 'q"\\'}, body="ä\n", expect="", connections=1, seconds=2, warmup_seconds=0
    )
    script = wrk._script(order)

    assert 'wrk.body = "\\195\\164\\010"' in script
    assert 'wrk.headers["A"] = "q\\034\\092"' in script
    assert wrk._children_seconds("0m1.25s 1m0.50s") == 61.75
    assert not wrk.suits(Order(**{**{f: getattr(order, f) for f in order.__struct_fields__}, "seconds": 0.5}))


@pytest.mark.skipif(not wrk.available(), reason="wrk is a package of the system, and optional")
async def test_wrk_counts_good_answers_and_bad_ones() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(10**9):
            try:
                await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            status = b"500 Bad" if number % 10 == 9 else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        order = Order(port=port, path="/", body="", expect="", connections=2, seconds=1, warmup_seconds=0)
        found = await asyncio.to_thread(wrk.generate, order)

    assert found.counted > 0
    assert 0.05 < found.failures / found.answered < 0.15
    assert 0 < found.p50_milliseconds <= found.p99_milliseconds


def test_the_tables_have_what_was_measured_and_say_what_was_not() -> None:
    plan = Plan(seconds=1.0, warmup_seconds=0.5, rounds=1, connections=[16], fsync=["always"])
    cells = [cell("floor", 0, 1000.0), cell("product", 0, 900.0)]
    submissions = [cell("floor", 0, 4000.0), cell("product", 0, 3000.0)]
    found = report(MACHINE, plan, cells, [], extras(cells, submissions))

    console = Console(width=100, record=True, file=io.StringIO())
    show(found, console)
    text = console.export_text()

    for words in (
        "0.75",
        "200 nodes",
        "12.00 ms",
        "1,000 event streams",
        "1,000,000 runs",
        "0.95",
        "slowpoke",
        "77",
        "9.0×",
    ):
        assert words in text, words
    assert "never: it was not there" in text
    assert [ratio.runs_per_second for ratio in found.submission_ratios] == [0.75]


def extras(cells: list[Cell], submissions: list[Cell]) -> Extras:
    rows = report(
        MACHINE, Plan(seconds=1, warmup_seconds=0, rounds=1, connections=[16], fsync=["always"]), cells, []
    ).rows
    full = [type(rows[1])(**{**{f: getattr(rows[1], f) for f in rows[1].__struct_fields__}, "runs_per_second": 855.0})]
    shape = Shape(
        name="x",
        words="200 nodes in a row",
        fsync="always",
        connections=1,
        runs_per_second=10,
        p50_milliseconds=1,
        p99_milliseconds=2,
        cpu_milliseconds_per_run={"nats": 1},
        appends_per_run=2,
        stored_bytes_per_run=1,
        failures=0,
    )
    million = Million(
        fsync="always",
        runs=1_000_000,
        fill_seconds=1,
        empty=[rows[1]],
        full=full,
        page_milliseconds=4,
        memory_empty_bytes={"nats": 1},
        memory_full_bytes={"nats": 2},
        log_bytes=1,
        table_bytes=1,
    )
    peer = PeerRow(
        peer="slowpoke",
        version="1",
        durable="no",
        connections=16,
        seconds=1,
        generator="own",
        runs_per_second=100,
        p50_milliseconds=1,
        p99_milliseconds=1,
        failures=77,
    )
    return Extras(
        submissions=submissions,
        shapes=[shape],
        first_words=[
            FirstWord(fsync="always", calls=1, p50_milliseconds=12, p99_milliseconds=13, model_milliseconds=1)
        ],
        streams=[Streams(streams=1000, events=1, events_per_second=5, first_milliseconds=1)],
        million=million,
        peers=[peer],
        left_out=["never: it was not there"],
    )


def test_the_chart_has_a_panel_for_submissions_and_one_for_peers() -> None:
    plan = Plan(seconds=1.0, warmup_seconds=0.5, rounds=1, connections=[16], fsync=["always"])
    cells = [cell("floor", 0, 1000.0), cell("product", 0, 900.0)]
    submissions = [cell("floor", 0, 4000.0), cell("product", 0, 3000.0)]
    found = report(MACHINE, plan, cells, [], extras(cells, submissions))

    words = [element.text for element in ElementTree.fromstring(draw(found)).iter() if element.text]
    assert {"4,000", "3,000", "0.75 of the floor", "slowpoke", "100", "Headgate", "900"} <= set(words)
