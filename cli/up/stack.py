"""Every process of a stack as a child to be: which program, which environment, which log, which port."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cli.children import spawn
from cli.ports import next_port, random_port
from cli.servers.nats import NatsServer
from cli.servers.postgres import PostgresServer
from cli.up.child import Child
from cli.up.installation import AdminKey
from cli.up.plan import Place, Plan, places, service_environment


def log_of(plan: Plan, name: str) -> Path:
    """The log file of the child called `name`."""
    return plan.data / "logs" / f"{name}.log"


async def children_of(plan: Plan, environment: Mapping[str, str], key: AdminKey) -> list[Child]:
    """The servers, unless the plan names others, then the services: they try until the servers are there."""
    gateways = range(plan.port, plan.port + plan.gateways)
    homes = places(plan, next_port=partial(next_port, avoid=gateways))
    taken = {place.port for place in homes}
    children: list[Child] = []
    nats_url, postgres_dsn = plan.nats_url, plan.postgres_dsn
    if not nats_url:
        nats = _nats(plan, taken)
        nats_url = nats.url
        children.append(Child(service="nats", index=0, url=nats.monitor_url, launch=nats.launch))
    if not postgres_dsn:
        log = log_of(plan, "postgres-0")
        postgres = PostgresServer(plan.data / "postgres", port=random_port(avoid=taken), log=log)
        await asyncio.to_thread(postgres.prepare)
        postgres_dsn = postgres.dsn
        children.append(_postgres(postgres))
    parent_fd, _ = os.pipe()  # nothing is ever written to it: it ends when this process does
    for place in homes:
        env = service_environment(
            place,
            plan=plan,
            inherited=environment,
            nats_url=nats_url,
            postgres_dsn=postgres_dsn,
            admin_key=key.value,
            parent_fd=parent_fd,
        )
        children.append(_service(plan, place, env, parent_fd))
    return children


def _nats(plan: Plan, taken: set[int]) -> NatsServer:
    port = random_port(avoid=taken)
    taken.add(port)
    monitor_port = random_port(avoid=taken)
    taken.add(monitor_port)
    return NatsServer(
        plan.data / "nats", port=port, monitor_port=monitor_port, fsync=plan.fsync, log=log_of(plan, "nats-0")
    )


def _postgres(server: PostgresServer) -> Child:
    return Child(
        service="postgres",
        index=0,
        url=server.address,
        launch=server.launch,
        stop_signal=signal.SIGINT,  # its "fast" shutdown: sessions end, a checkpoint is written
    )


def _service(plan: Plan, place: Place, env: Mapping[str, str], parent_fd: int) -> Child:
    def launch() -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", f"services.{place.service}"]
        return spawn(argv, env=env, log=log_of(plan, f"{place.service}-{place.index}"), pass_fds=[parent_fd])

    return Child(service=place.service, index=place.index, url=place.url, launch=launch)
