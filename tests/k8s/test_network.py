"""Who may reach whom: from nothing at all, and only executors and notifiers reach outside."""

from ipaddress import ip_address, ip_network

import pytest

from libs.egress import addresses
from tests.k8s.manifests import OVERLAYS, Manifest, named, of_kind, overlay, selects, templates

PRIVATE = (
    *("0.0.0.0", "10.0.0.1", "100.100.100.200", "127.0.0.1", "168.63.129.16", "169.254.169.254", "172.20.1.1"),
    *("192.168.1.1", "224.0.0.1", "255.255.255.255", "::1", "fd00:ec2::254", "fe80::1", "64:ff9b::a00:1"),
    *("::ffff:10.0.0.1", "2002:a00:1::1", "2001::1"),
)

both = pytest.mark.parametrize("name", OVERLAYS)


def rules(manifests: tuple[Manifest, ...], labels: Manifest) -> list[Manifest]:
    """Every egress rule that holds for pods with these labels."""
    found = []
    for policy in of_kind(manifests, "NetworkPolicy"):
        if selects(policy["spec"]["podSelector"], labels):
            found += policy["spec"].get("egress", ())
    return found


@both
def test_nothing_is_reached_unless_a_policy_says_so(name: str) -> None:
    spec = named(overlay(name), "NetworkPolicy", "default-deny")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@both
def test_only_executors_and_notifiers_reach_outside(name: str) -> None:
    manifests = overlay(name)
    outside = set()
    for whose, template in templates(manifests):
        for rule in rules(manifests, template["metadata"]["labels"]):
            peers = rule.get("to", [])
            if not peers or any("ipBlock" in peer for peer in peers):
                outside.add(whose)
    assert outside == {"Deployment/executor", "Deployment/notifier"}


@both
@pytest.mark.parametrize("service", ["executor", "notifier"])
def test_outside_is_what_egress_calls_public(name: str, service: str) -> None:
    policy = named(overlay(name), "NetworkPolicy", service)
    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule["to"] if "ipBlock" in peer]

    def reached(text: str) -> bool:
        address = ip_address(text)
        for block in blocks:
            inside = address.version == ip_network(block["cidr"]).version and address in ip_network(block["cidr"])
            if inside and not any(address in ip_network(each) for each in block["except"]):
                return True
        return False

    for text in ("1.1.1.1", "93.184.215.14", "2606:4700:4700::1111"):
        assert reached(text), text
    for text in PRIVATE:
        assert addresses.why_not_public(ip_address(text)), f"{text} is public after all"
        assert not reached(text), text


@both
def test_each_service_reaches_the_log_and_the_tables_that_it_needs(name: str) -> None:
    manifests = overlay(name)
    database = {"app.kubernetes.io/name": "postgres"} if name == "dev" else {"cnpg.io/cluster": "headgate-postgres"}
    for whose, template in templates(manifests):
        reached = [
            (peer["podSelector"], port["port"])
            for rule in rules(manifests, template["metadata"]["labels"])
            for peer in rule.get("to", ())
            if "podSelector" in peer
            for port in rule["ports"]
        ]
        service = whose.partition("/")[2]
        if service in ("gateway", "auth", "executor", "notifier", "migrate"):
            assert any(selects(pods, {"app.kubernetes.io/name": "nats"}) and port == 4222 for pods, port in reached), (
                whose
            )
        uses = "HEADGATE_POSTGRES_DSN" in str(template)
        assert uses == any(selects(pods, database) and port == 5432 for pods, port in reached if pods), whose
