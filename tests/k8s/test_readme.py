"""What `k8s/README.md` tells people to do names things that there are."""

import re
from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import FOLDER, ROOT, Manifest, of_kind, overlay, render, selects, templates
from tests.k8s.test_schemas import NEWEST, check

TEXT = (FOLDER / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def all_manifests() -> list[Manifest]:
    return [*overlay("dev"), *overlay("production")]


def test_an_overlay_of_ones_own_renders_and_moves_what_it_says(tmp_path: Path) -> None:
    own = next(block for block in blocks("yaml") if "kind: Kustomization" in block)
    above = Path("../" * len(tmp_path.parts)) / FOLDER.relative_to("/")
    (tmp_path / "kustomization.yaml").write_text(own.replace("../headgate/k8s", str(above)))
    manifests = render(str(tmp_path))
    (route,) = of_kind(manifests, "HTTPRoute")
    assert route["spec"]["hostnames"] == ["flows.your.domain"]
    assert route["spec"]["parentRefs"][0]["name"] == "your-gateway"
    images = {each["image"] for _, template in templates(manifests) for each in template["spec"]["containers"]}
    assert "your.registry/headgate:0.1.0" in images
    assert not any("registry.example.com" in image for image in images)


def test_the_manifests_in_it_are_valid() -> None:
    policy = next(yaml.safe_load(block) for block in blocks("yaml") if "kind: NetworkPolicy" in block)
    check(policy, NEWEST)
    heredocs = [
        yaml.safe_load(text) for block in blocks("sh") for text in re.findall(r"<<'EOF'\n(.*?)^EOF", block, re.S | re.M)
    ]
    assert [each["kind"] for each in heredocs] == ["Pod"]
    for manifest in heredocs:
        check(manifest, NEWEST)


def test_the_operator_s_pod_reaches_the_log_by_the_right_name() -> None:
    text = next(text for block in blocks("sh") for text in re.findall(r"<<'EOF'\n(.*?)^EOF", block, re.S | re.M))
    pod = yaml.safe_load(text)
    (container,) = pod["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    production = overlay("production")
    (settings,) = (m["data"] for m in of_kind(production, "ConfigMap") if "HEADGATE_NATS_URL" in m["data"])
    assert given["NATS_URL"] == settings["HEADGATE_NATS_URL"]
    allowed = [
        p for p in of_kind(production, "NetworkPolicy") if selects(p["spec"]["podSelector"], pod["metadata"]["labels"])
    ]
    assert "nats-clients" in {each["metadata"]["name"] for each in allowed}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job", "Service"])
def test_every_object_that_a_command_names_exists(kind: str) -> None:
    known = {each["metadata"]["name"] for each in all_manifests() if each["kind"] == kind}
    shell = "\n".join(blocks("sh")) + "\n".join(re.findall(r"`(kubectl [^`]*)`", TEXT))
    named = set(re.findall(rf"\b{kind.lower()}[/ ]([a-z][a-z0-9-]*)", shell))
    assert named, "none is named: the pattern is wrong"
    assert named <= known


def test_every_path_in_it_exists() -> None:
    for path in re.findall(r"`((?:base|overlays|components)/[\w./-]+)`", TEXT):
        assert (FOLDER / path).exists(), path
    for path in re.findall(r"\bk8s/overlays/\w+|examples/flows/\w+\.json", TEXT):
        assert (ROOT / path).exists(), path
    (listed,) = re.findall(r"^\| `components` \| (.*) \|$", TEXT, re.MULTILINE)
    assert {path.name for path in (FOLDER / "components").iterdir()} <= set(re.findall(r"`([\w-]+)`", listed))


def test_the_job_and_its_settings_can_be_applied_alone() -> None:
    (selector,) = re.findall(r"component in \(([^)]*)\)", TEXT)
    values = {each.strip() for each in selector.split(",")}
    production = overlay("production")
    chosen = [
        each for each in production if each["metadata"].get("labels", {}).get("app.kubernetes.io/component") in values
    ]
    (job,) = of_kind(tuple(chosen), "Job")
    names = {each["metadata"]["name"] for each in of_kind(tuple(chosen), "ConfigMap")}
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {each["configMapRef"]["name"] for each in container["envFrom"]} == names
    assert {each["kind"] for each in chosen} == {"Job", "ConfigMap", "ServiceAccount", "NetworkPolicy"}
