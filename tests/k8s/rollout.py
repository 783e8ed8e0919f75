"""A rolling update of a Deployment as its controller does it: `maxSurge: 1`, `maxUnavailable: 0`, its own probes."""

import asyncio
from collections.abc import Callable, Sequence

from tests.k8s.balancer import Balancer
from tests.k8s.manifests import Manifest
from tests.k8s.pod import Pod


async def started(pod: Pod, balancer: Balancer | None = None) -> Pod:
    """Start a pod; returns when it is ready and, if it has one, its Service knows."""
    pod.start()
    await asyncio.to_thread(pod.wait, "startupProbe")
    await asyncio.to_thread(pod.wait, "readinessProbe")
    if balancer is not None:
        balancer.add(pod)
    return pod


async def roll(
    deployment: Manifest, pods: Sequence[Pod], make: Callable[[], Pod], balancer: Balancer | None
) -> list[Pod]:
    """Replace each pod by a new one, one after the other; the new ones. AssertionError when one outlives its time."""
    spec = deployment["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    fresh = []
    async with asyncio.TaskGroup() as group:
        for old in pods:
            fresh.append(await started(make(), balancer))
            await asyncio.sleep(spec["minReadySeconds"])  # the manifest's own pause before the next step
            group.create_task(_deleted(old, balancer))
    return fresh


async def _deleted(pod: Pod, balancer: Balancer | None) -> None:
    async with asyncio.TaskGroup() as group:
        if balancer is not None:
            group.create_task(balancer.forget(pod))
        group.create_task(asyncio.to_thread(pod.stop))
