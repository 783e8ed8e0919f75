"""DBOS: a library that keeps each step of a workflow in PostgreSQL. Here behind FastAPI and uvicorn, one process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.peer import Peer, await_answer, process, python_with, version_of
from cli.ports import random_port
from cli.servers.postgres import PostgresServer

_APPS = Path(__file__).parent / "apps"


@contextmanager
def serve(data: Path) -> Iterator[Peer]:
    """DBOS on a PostgreSQL of its own, the same server that Headgate brings."""
    python = python_with("dbos", "dbos", "fastapi", "uvicorn")
    server = PostgresServer(data / "postgres")
    server.start()
    port = random_port()
    try:
        env = {"DATABASE_URL": server.dsn, "PORT": str(port)}
        log = data / "dbos.log"
        with process([python, _APPS / "dbos_app.py"], data, log, env):
            peer = Peer(
                port=port,
                path="/run",
                body=json.dumps({"name": "Ada Lovelace", "prices": [3, 4, 5]}),
                expect='"status":"completed"',
                version=version_of(python, "dbos"),
                durable="each step, in PostgreSQL",
            )
            await_answer(peer, log)
            yield peer
    finally:
        server.stop()
