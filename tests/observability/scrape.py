"""What `/metrics` says, parsed by the client library's own parser."""

import urllib.request
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.stack import Stack

SERVICES = ("gateway", "auth", "executor", "notifier")


def families(url: str) -> dict[str, Metric]:
    """The families that a process shows, by name (a counter's without `_total`)."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def of_service(stack: Stack, service: str) -> dict[str, Metric]:
    """Those of the first process of a service."""
    return families(stack.process(service)["url"])


def value(found: dict[str, Metric], sample: str, **labels: str) -> float:
    """The sum of the samples of a name with at least these labels; 0 where there is none."""
    return sum(each.value for each in _samples(found) if each.name == sample and labels.items() <= each.labels.items())


def series(found: dict[str, Metric]) -> int:
    """How many there are."""
    return sum(1 for _ in _samples(found))


def names(found: dict[str, Metric]) -> set[str]:
    """Every name that a query may use, of families without a sample too."""
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
    return {family.name + suffix for family in found.values() for suffix in suffixes.get(family.type, ("",))}


def _samples(found: dict[str, Metric]) -> Iterable:
    return (sample for family in found.values() for sample in family.samples)
