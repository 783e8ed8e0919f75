"""What `kubectl apply -k` would send, rendered by kubectl's own kustomize, and its parts by name."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "k8s"
OVERLAYS = ("dev", "production")
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")

Manifest = dict[str, Any]


@cache
def render(folder: str) -> tuple[Manifest, ...]:
    """The manifests of a folder below `k8s/`, such as `overlays/dev`."""
    command = _renderer()
    if command is None:
        pytest.skip("neither kubectl nor kustomize is installed: the manifests cannot be rendered here")
    done = subprocess.run([*command, str(FOLDER / folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def overlay(name: str) -> tuple[Manifest, ...]:
    """The manifests of an overlay."""
    return render(f"overlays/{name}")


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    """Those of some kinds."""
    return [each for each in manifests if each["kind"] in kinds]


def named(manifests: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    """The only one of a kind and a name."""
    (found,) = (each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def name_of(manifest: Manifest) -> str:
    """How a message names it."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def template_of(workload: Manifest) -> Manifest:
    """The template of a workload's pods."""
    found: Manifest = workload["spec"]["template"]
    return found


def templates(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """The pod templates of all workloads, and whose they are."""
    for workload in of_kind(manifests, *WORKLOADS):
        yield name_of(workload), template_of(workload)


def containers(template: Manifest) -> list[Manifest]:
    """All containers of a pod, those that come first too."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def selects(selector: Manifest, labels: Manifest) -> bool:
    """Whether a label selector (`matchLabels`, `matchExpressions` with In) takes what has these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "In", "no other operator is understood here"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return True


def _renderer() -> list[str] | None:
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    if kustomize := shutil.which("kustomize"):
        return [kustomize, "build"]
    return None
