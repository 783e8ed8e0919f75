"""Other products, each set up as its own documentation says, with four durable steps where it has steps.

A peer is one file here and its line in `PEERS`. What it needs is installed once, from the package registries, into a
folder of its own below `build/peers`; nothing of it is part of this repository or of what the product installs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from bench.load import Order
from bench.measure import Tell, generate
from bench.peers import dbos, restate
from bench.peers.peer import Peer
from bench.report import PeerRow, Plan

Serve = Callable[[Path], AbstractContextManager[Peer]]

PEERS: dict[str, Serve] = {
    "dbos": dbos.serve,
    "restate": restate.serve_python,
    "restate-node": restate.serve_node,
}


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
            order = Order(
                port=peer.port,
                path=peer.path,
                headers=peer.headers,
                body=peer.body,
                expect=peer.expect,
                connections=connections,
                seconds=plan.seconds,
                warmup_seconds=plan.warmup_seconds,
            )
            load = generate(order, plan.generator)
            rows.append(
                PeerRow(
                    peer=name,
                    version=peer.version,
                    durable=peer.durable,
                    connections=connections,
                    runs_per_second=load.counted / load.seconds,
                    p50_milliseconds=load.p50_milliseconds,
                    p99_milliseconds=load.p99_milliseconds,
                    failures=load.failures,
                )
            )
    return rows
