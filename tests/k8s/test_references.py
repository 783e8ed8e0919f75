"""What manifests say of each other and of the code is true: names, ports, probes, settings, grace periods."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from libs.events import preparation
from libs.runtime.health import Readiness, health_routes
from libs.runtime.process import LEAVE_SECONDS
from libs.runtime.providers import read_endpoints
from libs.runtime.settings import Settings
from tests.k8s.manifests import (
    OVERLAYS,
    ROOT,
    WORKLOADS,
    Manifest,
    containers,
    name_of,
    named,
    of_kind,
    overlay,
    selects,
    template_of,
    templates,
)

SERVICES = ("gateway", "auth", "executor", "notifier")

MADE_BY_OPERATORS = {
    "headgate-nats-tls": {"tls.crt", "tls.key", "ca.crt"},  # cert-manager, for components/cert-manager
    "headgate-postgres-app": {"uri", "username", "password", "dbname"},  # CloudNativePG
    "headgate-postgres-ca": {"ca.crt"},
}
both = pytest.mark.parametrize("name", OVERLAYS)


def environment(manifests: tuple[Manifest, ...], container: Manifest) -> dict[str, Any]:
    """The variables that a container has for certain: a value, or where it comes from."""
    found: dict[str, Any] = {}
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            found |= named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {each["name"]: each.get("value", each.get("valueFrom")) for each in container.get("env", ())}


def our_secrets() -> dict[str, set[str]]:
    """The Secrets that `headgate cluster-secrets` makes, with their keys."""
    words = [sys.executable, "-m", "cli", "cluster-secrets", "--postgres-host", "postgres"]
    done = subprocess.run(words, capture_output=True, check=True, timeout=60, cwd=ROOT)
    return {each["metadata"]["name"]: set(each["stringData"]) for each in json.loads(done.stdout)["items"]}


def references(template: Manifest) -> list[tuple[str, str, str | None]]:
    """Every ConfigMap and Secret that pods cannot start without: kind, name, and key (None: as a whole)."""
    found: list[tuple[str, str, str | None]] = []
    for container in containers(template):
        for source in container.get("envFrom", ()):
            for kind, word in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if word in source and not source[word].get("optional"):
                    found.append((kind, source[word]["name"], None))
        for each in container.get("env", ()):
            for kind, word in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                ref = each.get("valueFrom", {}).get(word)
                if ref and not ref.get("optional"):
                    found.append((kind, ref["name"], ref["key"]))
    for volume in template["spec"].get("volumes", ()):
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        for source in sources:
            for kind, word, key in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
                if word in source:
                    name = source[word].get("name") or source[word][key]
                    items = source[word].get("items", [{"key": None}])
                    found += [(kind, name, item["key"]) for item in items]
    return found


@both
def test_every_configmap_and_secret_that_is_needed_exists(name: str) -> None:
    manifests = overlay(name)
    secrets = our_secrets()
    if name == "production":
        secrets |= MADE_BY_OPERATORS
    missing = []
    for whose, template in templates(manifests):
        for kind, wanted, key in references(template):
            if kind == "ConfigMap":
                data = {m["metadata"]["name"]: set(m["data"]) for m in of_kind(manifests, "ConfigMap")}
            else:
                data = secrets
            if wanted not in data or (key is not None and key not in data[wanted]):
                missing.append((whose, kind, wanted, key))
    assert missing == []


def test_what_operators_make_is_asked_of_them() -> None:
    production = overlay("production")
    (cluster,) = of_kind(production, "Cluster")
    made = {each["spec"]["secretName"] for each in of_kind(production, "Certificate")}
    made |= {f"{cluster['metadata']['name']}-{suffix}" for suffix in ("app", "ca")}
    assert set(MADE_BY_OPERATORS) <= made


def test_the_readme_names_every_secret() -> None:
    text = (ROOT / "k8s" / "README.md").read_text()
    optional = {"headgate-providers", "headgate-smtp"}
    assert [
        secret for secret in sorted({*our_secrets(), *MADE_BY_OPERATORS, *optional}) if f"`{secret}`" not in text
    ] == []


@both
def test_every_selector_selects_pods_that_there_are(name: str) -> None:
    manifests = overlay(name)
    pods = {whose: template["metadata"]["labels"] for whose, template in templates(manifests)}
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        selected = [whose for whose, labels in pods.items() if selects(workload["spec"]["selector"], labels)]
        assert selected == [name_of(workload)]
    for service in of_kind(manifests, "Service"):
        selected = [
            whose for whose, labels in pods.items() if selects({"matchLabels": service["spec"]["selector"]}, labels)
        ]
        assert len(selected) == 1, name_of(service)
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert [w for w, labels in pods.items() if selects(budget["spec"]["selector"], labels)], name_of(budget)
    for policy in of_kind(manifests, "NetworkPolicy"):
        if "cnpg.io/cluster" not in policy["spec"]["podSelector"].get("matchLabels", {}):
            assert [w for w, labels in pods.items() if selects(policy["spec"]["podSelector"], labels)], name_of(policy)


@both
def test_every_named_port_target_and_account_exists(name: str) -> None:
    manifests = overlay(name)
    ports: dict[str, set[Any]] = {}
    for whose, template in templates(manifests):
        listed = [port for each in containers(template) for port in each.get("ports", ())]
        ports[whose] = {port["name"] for port in listed} | {port["containerPort"] for port in listed}
        assert named(manifests, "ServiceAccount", template["spec"]["serviceAccountName"])
        for container in containers(template):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if "httpGet" in container.get(probe, {}):
                    assert container[probe]["httpGet"]["port"] in ports[whose], (whose, probe)
    for service in of_kind(manifests, "Service"):
        target = next(
            w
            for w, t in templates(manifests)
            if selects({"matchLabels": service["spec"]["selector"]}, t["metadata"]["labels"])
        )
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports[target], name_of(service)
    for policy in of_kind(manifests, "NetworkPolicy"):
        allowed = {each["port"] for rule in policy["spec"].get("ingress", ()) for each in rule.get("ports", ())}
        for whose, template in templates(manifests):
            if policy["spec"]["podSelector"] and selects(policy["spec"]["podSelector"], template["metadata"]["labels"]):
                assert allowed <= ports[whose], (name_of(policy), whose)
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        target = named(manifests, scaler["spec"]["scaleTargetRef"]["kind"], scaler["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in target["spec"], f"{name_of(scaler)} and an apply would take turns"
    services = {each["metadata"]["name"]: each for each in of_kind(manifests, "Service")}
    for route in of_kind(manifests, "HTTPRoute"):
        for backend in [each for rule in route["spec"]["rules"] for each in rule["backendRefs"]]:
            assert backend["port"] in {each["port"] for each in services[backend["name"]]["spec"]["ports"]}


@both
def test_every_variable_is_a_setting_of_ours(name: str) -> None:
    manifests = overlay(name)
    known = {f"HEADGATE_{field.upper()}" for field in Settings.__struct_fields__}
    known |= {f"{each}_FILE" for each in known}
    for service in (*SERVICES, "migrate"):
        workload = named(manifests, "Job" if service == "migrate" else "Deployment", service)
        (container,) = template_of(workload)["spec"]["containers"]
        ours = {variable for variable in environment(manifests, container) if variable.startswith("HEADGATE_")}
        assert ours - known <= PENDING, service


PENDING = {"HEADGATE_SMTP_URL"} - {f"HEADGATE_{field.upper()}" for field in Settings.__struct_fields__}
"""Settings that the contract names, read by the notifier's mail channel itself."""


@both
@pytest.mark.parametrize("service", SERVICES)
def test_ports_and_probes_are_those_of_the_code(name: str, service: str) -> None:
    manifests = overlay(name)
    (container,) = template_of(named(manifests, "Deployment", service))["spec"]["containers"]
    given = environment(manifests, container)
    assert container["command"] == ["python", "-m", f"services.{service}"]
    assert [port["containerPort"] for port in container["ports"]] == [int(given["HEADGATE_PORT"])]
    answered = {route.path for route in health_routes(Readiness())}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in answered
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz", "a restart cures no broker"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert (ROOT / "services" / service / "__main__.py").exists()


@both
@pytest.mark.parametrize("service", SERVICES)
def test_there_is_time_to_start_and_to_stop(name: str, service: str) -> None:
    manifests = overlay(name)
    pod = template_of(named(manifests, "Deployment", service))["spec"]
    (container,) = pod["containers"]
    given = environment(manifests, container)
    stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = stop + float(given["HEADGATE_LINGER_SECONDS"]) + float(given["HEADGATE_DRAIN_SECONDS"]) + LEAVE_SECONDS
    assert pod["terminationGracePeriodSeconds"] >= needed
    assert stop >= 5, "balancers hear of it at their own pace"
    assert float(given["HEADGATE_LINGER_SECONDS"]) >= 3, "a connection that is kept open has to see an answer"
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] > preparation.PATIENCE_SECONDS
    ready = container["readinessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] + ready["timeoutSeconds"] <= 8, "a drain is seen in time"


@both
def test_every_container_fits_the_restricted_profile(name: str) -> None:
    manifests = overlay(name)
    labels = named(manifests, "Namespace", "headgate")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for whose, template in templates(manifests):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, whose
        assert spec["securityContext"]["runAsUser"] > 0, whose
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, whose
        assert spec["automountServiceAccountToken"] is False, whose
        assert spec["enableServiceLinks"] is False, whose
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), whose
        for volume in spec.get("volumes", ()):
            assert set(volume) - {"name"} <= {"configMap", "secret", "projected", "emptyDir"}, (whose, volume)
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], whose
        for container in containers(template):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, whose
            assert context["capabilities"] == {"drop": ["ALL"]}, whose
            assert context["readOnlyRootFilesystem"] is True, whose
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"], whose
            assert re.fullmatch(r"[^:@]+:(?!latest$)[\w.-]+", container["image"]), (whose, container["image"])


def test_everything_that_holds_nothing_runs_twice_in_production() -> None:
    production = overlay("production")
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]
        for each in of_kind(production, "HorizontalPodAutoscaler", "ScaledObject")
    }
    for service in SERVICES:
        spec = named(production, "Deployment", service)["spec"]
        least = (
            scaled[service].get("minReplicas", scaled[service].get("minReplicaCount"))
            if service in scaled
            else spec["replicas"]
        )
        assert least >= 2, service
        assert {each["topologyKey"] for each in template_of({"spec": spec})["spec"]["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }
    assert {name_of(each) for each in of_kind(production, "PodDisruptionBudget")} == {
        f"PodDisruptionBudget/{each}" for each in (*SERVICES, "nats")
    }


def test_prometheus_scrapes_every_service_and_asks_it_for_the_right_port() -> None:
    production = overlay("production")
    (monitor,) = of_kind(production, "PodMonitor")
    scraped = {
        whose: {port["name"] for each in containers(template) for port in each.get("ports", ())}
        for whose, template in templates(production)
        if selects(monitor["spec"]["selector"], template["metadata"]["labels"])
    }
    assert set(scraped) == {f"Deployment/{service}" for service in SERVICES}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert all(endpoint["port"] in ports for ports in scraped.values())


def test_the_laptop_has_one_of_each() -> None:
    for workload in of_kind(overlay("dev"), *WORKLOADS):
        assert workload["spec"].get("replicas", 1) == 1
    assert not of_kind(overlay("dev"), "HorizontalPodAutoscaler", "ScaledObject", "Cluster", "Certificate")


def test_a_provider_in_the_secret_is_read() -> None:
    assert set(read_endpoints({"HEADGATE_PROVIDER_LOCAL_BASE_URL": "http://models/v1"})) == {"openai", "local"}
