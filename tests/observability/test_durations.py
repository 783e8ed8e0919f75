"""Our histogram is the client library's to whoever scrapes it."""

import pytest
from prometheus_client import CollectorRegistry, Histogram, Metric

from libs.runtime import durations
from libs.runtime.durations import Durations

SECONDS = (0.0, 0.0005, 0.001, 0.0011, 0.3, 1.0, 299.9, 300.0, 301.0, 1e9)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """One of this test's own."""
    found = CollectorRegistry()
    monkeypatch.setattr(durations, "REGISTRY", found)
    return found


def test_it_shows_what_the_library_would(registry: CollectorRegistry) -> None:
    ours = Durations("ours_seconds", "For this test.", ["route"])
    registry_of_theirs = CollectorRegistry()
    theirs = Histogram(
        "ours_seconds", "For this test.", ["route"], buckets=durations.BUCKETS, registry=registry_of_theirs
    )
    for route in ("/a", "/b"):
        for seconds in SECONDS:
            ours.at(route).observe(seconds)
            theirs.labels(route).observe(seconds)
    assert shown(registry) == shown(registry_of_theirs)


def test_it_exists_before_the_first_observation(registry: CollectorRegistry) -> None:
    Durations("quiet_seconds", "For this test.", ["route"])
    assert [family.name for family in registry.collect()] == ["quiet_seconds"]


def test_a_name_is_taken_once(registry: CollectorRegistry) -> None:
    Durations("taken_seconds", "For this test.")
    with pytest.raises(ValueError, match="taken_seconds"):
        Durations("taken_seconds", "For this test.")


def test_labels_are_those_that_were_declared(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="route"):
        Durations("labelled_seconds", "For this test.", ["route"]).at("/a", "GET")


def shown(registry: CollectorRegistry) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    families: list[Metric] = list(registry.collect())
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
