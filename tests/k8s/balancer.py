"""What stands before the pods of a Service: connections go to those that are ready, as the kubelet's probe finds.

Connections that stand are left alone, as kube-proxy does: a client that keeps one open stays with its pod for as long
as the pod lets it. A pod that is deleted is left out a second later: nodes hear of it at their own pace.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.k8s.pod import Pod

NEWS_SECONDS = 1.0
_CHUNK_BYTES = 64 * 1024


class Balancer:
    """Made by `balancing`. `pods` are those that there are, `ready` those that new connections go to."""

    def __init__(self, address: str, port: int, target_port: int) -> None:
        self.address = address
        self.port = port
        self.ready: list[Pod] = []
        self.refused = 0
        """Connections for which there was no pod."""
        self._target_port = target_port
        self._turns = itertools.count()
        self._watching: dict[str, asyncio.Task[None]] = {}

    @property
    def url(self) -> str:
        """The Service's address."""
        return f"http://{self.address}:{self.port}"

    def add(self, pod: Pod) -> None:
        """Watch a pod; it takes part while it is ready."""
        self._watching[pod.name] = asyncio.create_task(self._watch(pod))

    async def forget(self, pod: Pod) -> None:
        """A pod is being deleted: it takes part a moment longer."""
        await asyncio.sleep(NEWS_SECONDS)  # the lag that this is about
        self._watching.pop(pod.name).cancel()
        if pod in self.ready:
            self.ready.remove(pod)

    def stop(self) -> None:
        """Watch nobody any more."""
        for task in self._watching.values():
            task.cancel()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if not self.ready:
            self.refused += 1
            writer.transport.abort()
            return
        pod = self.ready[next(self._turns) % len(self.ready)]
        try:
            onward_reader, onward_writer = await asyncio.open_connection(pod.address, self._target_port)
        except OSError:
            self.refused += 1
            writer.transport.abort()
            return
        await asyncio.gather(_pass_on(reader, onward_writer), _pass_on(onward_reader, writer))

    async def _watch(self, pod: Pod) -> None:
        """By the pod's own readiness probe."""
        probe = pod.container["readinessProbe"]
        failures = 0
        while True:
            ready = await asyncio.to_thread(pod.probe, "readinessProbe")
            failures = 0 if ready else failures + 1
            if ready and pod not in self.ready:
                self.ready.append(pod)
            elif failures >= probe.get("failureThreshold", 3) and pod in self.ready:
                self.ready.remove(pod)
            await asyncio.sleep(probe["periodSeconds"])


@asynccontextmanager
async def balancing(address: str, port: int, target_port: int) -> AsyncIterator[Balancer]:
    """A Service's address on this machine."""
    balancer = Balancer(address, port, target_port)
    server = await asyncio.start_server(balancer.relay, address, port)
    try:
        yield balancer
    finally:
        balancer.stop()
        server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, RuntimeError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
        return
    writer.transport.abort()
