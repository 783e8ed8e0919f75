"""Metrics: every name begins with `headgate_`, units are in the names, label values come from closed sets.

A metric is declared where it is counted. What is here is what every process has: its build, its own CPU and memory,
and how late its event loop runs.
"""

import asyncio
from importlib.metadata import version

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, REGISTRY, Gauge, Histogram
from prometheus_client import disable_created_metrics as without_created_series
from prometheus_client.process_collector import ProcessCollector

_TICK_SECONDS = 0.5

_lag = Histogram(
    "headgate_event_loop_lag_seconds",
    "How much later than asked for the event loop came back.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
_build = Gauge("headgate_build_info", "Always 1; the labels say what runs.", ["service", "version"])


def describe_process(service: str) -> None:
    """Replace the library's own series by ours; called once, before the first scrape."""
    without_created_series()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
        REGISTRY.unregister(collector)
    ProcessCollector(namespace="headgate")
    _build.labels(service, version("headgate")).set(1)


async def measure_lag() -> None:
    """Observe the event loop's lag until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK_SECONDS
        await asyncio.sleep(_TICK_SECONDS)
        _lag.observe(max(0.0, loop.time() - due))
