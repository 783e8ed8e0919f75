"""Every manifest fits the schema of its kind: Kubernetes's own, or ours of what we use of operators' kinds."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest

from tests.k8s.manifests import FOLDER, Manifest, name_of, overlay, render

OLDEST = "1.32"
NEWEST = kubernetes_validate.latest_version()
SCHEMAS = Path(__file__).with_name("schemas")
BUILTIN = {
    "v1", "apps/v1", "batch/v1", "policy/v1", "autoscaling/v2", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1",
}  # fmt: skip
EXTRAS = ("ingress", "embeddings")
"""Components that no overlay takes."""


def check(manifest: Manifest, version: str) -> None:
    """Raises where the manifest does not fit, or has a field that its kind does not know."""
    if manifest["apiVersion"] in BUILTIN:
        kubernetes_validate.validate(manifest, version, strict=True)
    else:
        jsonschema_rs.validator_for(schema_of(manifest["kind"])).validate(manifest)


def schema_of(kind: str) -> dict[str, Any]:
    """Our schema of an operator's kind; it is closed, so a field that it does not name is a fault."""
    found: dict[str, Any] = json.loads((SCHEMAS / f"{kind.lower()}.json").read_bytes())
    return found


@pytest.mark.parametrize(("name", "version"), [("production", OLDEST), ("production", NEWEST), ("dev", NEWEST)])
def test_an_overlay_fits_the_schemas(name: str, version: str) -> None:
    manifests = overlay(name)
    assert len(manifests) > 30
    for manifest in manifests:
        try:
            check(manifest, version)
        except (kubernetes_validate.ValidationError, jsonschema_rs.ValidationError) as error:
            pytest.fail(f"{name_of(manifest)}: {error.message}")


@pytest.mark.parametrize("name", ["gateway", "auth", "executor", "notifier", "migrate", "nats", "postgres"])
def test_a_base_is_whole_by_itself_and_names_no_namespace(name: str) -> None:
    for manifest in render(f"base/{name}"):
        check(manifest, NEWEST)
        assert "namespace" not in manifest["metadata"], name_of(manifest)


def test_components_that_no_overlay_takes_fit_too(tmp_path: Path) -> None:
    above = Path("../" * len(tmp_path.parts)) / FOLDER.relative_to("/")
    extras = ", ".join(f"{above}/components/{name}" for name in EXTRAS)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{above}/overlays/production]\ncomponents: [{extras}]\n")
    manifests = render(str(tmp_path))
    kinds = {each["kind"] for each in manifests} - {each["kind"] for each in overlay("production")}
    assert kinds == {"Ingress"}
    for manifest in manifests:
        check(manifest, NEWEST)


def test_a_field_that_a_kind_does_not_know_is_found() -> None:
    wrong = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}, "automountToken": False}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(wrong, NEWEST)
    scaled = next(m for m in overlay("production") if m["kind"] == "ScaledObject")
    with pytest.raises(jsonschema_rs.ValidationError):
        check({**scaled, "spec": {**scaled["spec"], "minReplicas": 1}}, OLDEST)
