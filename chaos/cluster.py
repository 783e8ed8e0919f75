"""Three nats-servers on loopback that are one cluster, with every route between them through a proxy of ours.

Each pair of nodes has one route, opened by one of the two (both at once would now and then close each other's),
through a proxy that belongs to that pair: so a node can be cut off from the others while its clients still reach it.
The address that nodes tell each other for routes leads nowhere: else they would find a way around the proxies.
"""

import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from cli.ports import random_port
from cli.servers.nats import NatsServer
from tests.faults.proxy import Proxy, proxy_to

SIZE = 3
_NOWHERE = "127.0.0.1:1"

_CLUSTER = """\
cluster {{
  name: "chaos"
  listen: "127.0.0.1:{port}"
  advertise: "{nowhere}"
  pool_size: -1
  ping_interval: "1s"
  routes: [{routes}]
}}
"""


class Cluster:
    """Made by `cluster`. Nodes are known by their index."""

    def __init__(self, nodes: list[NatsServer], routes: dict[tuple[int, int], Proxy]) -> None:
        self.nodes = nodes
        self._routes = routes

    @property
    def url(self) -> str:
        """Every node, for clients."""
        return ",".join(node.url for node in self.nodes)

    def start(self, index: int) -> None:
        """Start a node, again, without waiting for it."""
        self.nodes[index].launch()

    def leader(self, stream: str) -> int | None:
        """Which node leads a stream, as one that answers says; None while nobody does."""
        for node in self.nodes:
            try:
                url = f"{node.monitor_url}/jsz?streams=true"
                with urllib.request.urlopen(url, timeout=2) as answer:
                    found: Any = json.load(answer)
            except OSError:
                continue
            for account in found.get("account_details", []):
                for each in account.get("stream_detail", []):
                    leader = each.get("cluster", {}).get("leader")
                    if each["name"] == stream and leader:
                        return next((i for i, n in enumerate(self.nodes) if n.name == leader), None)
        return None

    def healthy(self) -> bool:
        """Whether every node has caught up with its streams and consumers."""
        for node in self.nodes:
            try:
                with urllib.request.urlopen(f"{node.monitor_url}/healthz", timeout=2) as answer:
                    if answer.status != 200:
                        return False
            except OSError:
                return False
        return True

    async def cut_off(self, index: int) -> None:
        """Let nothing through between a node and the others."""
        for pair, proxy in self._routes.items():
            if index in pair:
                await proxy.refuse()

    async def join(self, index: int) -> None:
        """Let it through again."""
        for pair, proxy in self._routes.items():
            if index in pair:
                await proxy.accept()


@asynccontextmanager
async def cluster(data: Path) -> AsyncIterator[Cluster]:
    """A cluster that is starting; those who connect wait for it."""
    async with AsyncExitStack() as stack:
        ports: list[int] = []
        for _ in range(SIZE):
            ports.append(random_port(avoid=ports))
        ring = [(here, (here + 1) % SIZE) for here in range(SIZE)]
        routes = {pair: await stack.enter_async_context(proxy_to(ports[pair[1]])) for pair in ring}
        nodes = []
        for here, pair in enumerate(ring):
            # A node expects as many others as it has routes.
            urls = f'"{routes[pair].url}", "nats://{_NOWHERE}"'
            text = _CLUSTER.format(port=ports[here], nowhere=_NOWHERE, routes=urls)
            nodes.append(NatsServer(data / f"node-{here}", cluster=text))
        for node in nodes:
            stack.callback(node.stop)
            node.launch()
        yield Cluster(nodes, routes)
