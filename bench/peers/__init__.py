"""Other products, each set up as its own documentation says, with four steps, durable where it has such.

A peer is one file here and its line in `PEERS`. What it needs is installed once, from the package registries, into a
folder of its own below `build/peers`; nothing of it is part of this repository or of what the product installs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from bench.load import Order
from bench.measure import Tell, generate
from bench.peers import dbos, langflow, lfx, restate
from bench.peers.peer import Peer
from bench.report import Generator, PeerRow, Plan

Serve = Callable[[Path], AbstractContextManager[Peer]]

PEERS: dict[str, Serve] = {
    "dbos": dbos.serve,
    "restate": restate.serve_python,
    "restate-node": restate.serve_node,
    "langflow": langflow.serve,
    "lfx": lfx.serve,
}

_TURNS = 5
"""How often each connection is to be answered by a slow peer."""
_PATIENCE_SECONDS = 5.0


def steps_of_peer(plan: Plan) -> int:
    """How many steps `measure_peer` tells."""
    return 1 + len(plan.connections)


def measure_peer(name: str, plan: Plan, data: Path, tell: Tell) -> list[PeerRow]:
    """One row for each number of connections. Whatever keeps the peer from being measured is raised."""
    tell(f"{name}: installing and starting")
    rows = []
    with PEERS[name](data / name) as peer:
        for connections in plan.connections:
            tell(f"{name}: {connections} connections")
            order = order_for(peer, connections, plan)
            generator: Generator = "own" if peer.run_seconds else plan.generator
            load = generate(order, generator)
            rows.append(
                PeerRow(
                    peer=name,
                    version=peer.version,
                    durable=peer.durable,
                    connections=connections,
                    seconds=load.seconds,
                    generator=generator,
                    runs_per_second=load.counted / load.seconds,
                    p50_milliseconds=load.p50_milliseconds,
                    p99_milliseconds=load.p99_milliseconds,
                    failures=load.failures,
                )
            )
    return rows


def order_for(peer: Peer, connections: int, plan: Plan) -> Order:
    """What the plan asks of the peer; of a slow one for as long as each connection needs for some answers.

    For such a one our own generator has to ask, which waits for the last answer: wrk hangs up at its end, and what is
    not answered by then would be worked on in the next measurement.
    """
    turn_seconds = peer.run_seconds * connections
    return Order(
        port=peer.port,
        path=peer.path,
        headers=peer.headers,
        body=peer.body,
        expect=peer.expect,
        connections=connections,
        seconds=max(plan.seconds, _TURNS * turn_seconds),
        warmup_seconds=max(plan.warmup_seconds, turn_seconds),
        patience_seconds=max(_PATIENCE_SECONDS, 2 * _TURNS * turn_seconds),
    )
