"""All that a plan may ask for, in order: the core, what is besides, a million runs, the peers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import extras, million
from bench.measure import Tell, measure
from bench.measure import steps_of as core_steps
from bench.peers import measure_peer, steps_of_peer
from bench.report import Cell, Extras, FirstWord, Memory, Million, PeerRow, Plan, Shape, Streams
from bench.targets import Target
from cli.servers.nats import Fsync


def steps_of(plan: Plan) -> int:
    """How many steps `measure_all` tells."""
    steps = core_steps(plan) + len(plan.peers) * steps_of_peer(plan)
    if plan.everything:
        steps += extras.steps_of(plan)
    return steps + (million.steps_of(plan) if plan.million else 0)


def measure_all(plan: Plan, data: Path, tell: Tell) -> tuple[list[Cell], list[Memory], Extras]:
    """Everything that the plan asks for. A part that fails is left out, and it is said why."""
    submissions: list[Cell] = []
    shapes: list[Shape] = []
    words: list[FirstWord] = []
    streams: list[Streams] = []
    strictest = plan.fsync[0]

    def besides(fsync: Fsync, targets: list[Target]) -> None:
        submissions.extend(extras.measure_submissions(plan, fsync, targets, tell))
        if fsync == strictest:
            shapes.extend(extras.measure_shapes(plan, fsync, targets[1], tell))

    cells, memory = measure(plan, data, tell, besides if plan.everything else None)
    left_out: list[str] = []
    with _or_left_out("streams", left_out):
        if plan.everything:
            words, streams = extras.measure_streams(plan, strictest, data, tell)
    filled: Million | None = None
    with _or_left_out("a million runs", left_out):
        if plan.million:
            filled = million.measure_million(plan, plan.fsync[-1], data, tell)
    peers: list[PeerRow] = []
    for name in plan.peers:
        with _or_left_out(name, left_out):
            peers += measure_peer(name, plan, data, tell)
    extra = Extras(
        submissions=submissions,
        shapes=shapes,
        first_words=words,
        streams=streams,
        million=filled,
        peers=peers,
        left_out=left_out,
    )
    return cells, memory, extra


@contextmanager
def _or_left_out(what: str, left_out: list[str]) -> Iterator[None]:
    """Whatever keeps this part from being measured must not cost the figures that were."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # said in the report, with its reason
        left_out.append(f"{what}: {type(error).__name__}: {error}"[:500])
