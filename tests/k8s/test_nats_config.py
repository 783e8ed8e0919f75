"""NATS as the overlays configure it: disks, memory, names and users agree, and a laptop's server starts."""

import random
import re
import tempfile
from pathlib import Path

import pytest

from cli.cluster_secrets import USERS
from tests.k8s.manifests import OVERLAYS, Manifest, named, of_kind, overlay, template_of
from tests.k8s.pod import Pod, Sources

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
both = pytest.mark.parametrize("name", OVERLAYS)


def size(text: str) -> int:
    """Bytes of `90GB`, `100Gi` or `400MiB`; NATS's own units are powers of two as well."""
    number, unit = re.fullmatch(r"(\d+)([KMG])i?B?", text).groups()  # type: ignore[union-attr]  # a test
    return int(number) * _UNITS[unit]


def files(name: str) -> dict[str, str]:
    """The servers' configuration files."""
    (config,) = (each for each in of_kind(overlay(name), "ConfigMap") if "nats.conf" in each["data"])
    found: dict[str, str] = config["data"]
    return found


def settings(name: str) -> dict[str, str]:
    (config,) = (each for each in of_kind(overlay(name), "ConfigMap") if "HEADGATE_NATS_URL" in each["data"])
    found: dict[str, str] = config["data"]
    return found


def server(name: str) -> Manifest:
    return named(overlay(name), "StatefulSet", "nats")


@both
def test_what_is_acknowledged_is_on_disk(name: str) -> None:
    assert "sync_interval: always" in files(name)["nats.conf"]


@both
def test_the_disk_holds_what_the_log_may_grow_to_and_memory_what_go_may_take(name: str) -> None:
    (claim,) = server(name)["spec"]["volumeClaimTemplates"]
    (store,) = re.findall(r"max_file_store: (\w+)", files(name)["nats.conf"])
    assert size(store) <= 0.92 * size(claim["spec"]["resources"]["requests"]["storage"])
    (container,) = template_of(server(name))["spec"]["containers"]
    limit = next(each["value"] for each in container["env"] if each["name"] == "GOMEMLIMIT")
    assert size(limit) <= 0.85 * size(container["resources"]["limits"]["memory"])


@both
def test_a_server_that_stops_has_the_time_to_give_its_clients_away(name: str) -> None:
    seconds = [int(each) for each in re.findall(r'lame_duck_\w+: "(\d+)s"', files(name)["nats.conf"])]
    assert len(seconds) == 2
    assert sum(seconds) < template_of(server(name))["spec"]["terminationGracePeriodSeconds"]


@both
def test_clients_and_servers_know_the_servers_by_their_names(name: str) -> None:
    replicas = server(name)["spec"]["replicas"]
    names = [f"nats-{index}.nats" for index in range(replicas)]
    assert server(name)["spec"]["serviceName"] == "nats"
    assert re.findall(r"//([\w.-]+):4222", settings(name)["HEADGATE_NATS_URL"]) == names
    routes = re.findall(r"//([\w.-]+):6222", files(name)["nats.conf"])
    assert routes == (names if replicas > 1 else [])
    assert settings(name)["HEADGATE_REPLICAS"] == str(replicas)


def test_production_talks_in_cipher_to_servers_that_are_apart() -> None:
    assert set(re.findall(r"(\w+)://nats-", settings("production")["HEADGATE_NATS_URL"])) == {"tls"}
    (certificate,) = (e["spec"] for e in of_kind(overlay("production"), "Certificate") if "dnsNames" in e["spec"])
    assert "*.nats" in certificate["dnsNames"]
    assert {"server auth", "client auth"} <= set(certificate["usages"])
    apart = template_of(server("production"))["spec"]["affinity"]["podAntiAffinity"]
    (rule,) = apart["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"


def test_every_user_has_a_key_and_every_event_stream_its_lines() -> None:
    text = files("production")["users.conf"]
    assert sorted(re.findall(r"nkey: \$NKEY_(\w+)", text)) == sorted(user.upper() for user in USERS)
    streams = {f"EVENTS_{index}" for index in range(int(settings("production")["HEADGATE_STREAMS"]))}
    assert set(re.findall(r"\bEVENTS_\d+\b", text)) == streams
    for user in ("EXECUTOR", "NOTIFIER"):
        block = text.partition(f"$NKEY_{user}")[2].partition("$NKEY_")[0]
        for stream in streams:
            assert f"STREAM.MSG.GET.{stream}" in block, (user, stream)


def test_only_migrate_and_the_operator_may_make_or_change_a_stream() -> None:
    text = files("production")["users.conf"]
    may = re.compile(r'STREAM\.(CREATE|UPDATE|DELETE|RESTORE|SNAPSHOT)|"\$JS\.API\.>"|"\$JS\.>"|allow: "?>')
    blocks = re.split(r"nkey: \$NKEY_", text)[1:]
    assert {block.partition("\n")[0].split()[0] for block in blocks if may.search(block)} == {"MIGRATE"}
    purged = set(re.findall(r"STREAM\.PURGE\.([\w*>]+)", text))
    assert purged <= {"TIMERS"}, "runs and keys are for ever"


def test_a_laptop_s_server_starts_and_leaves() -> None:
    dev = overlay("dev")
    configmaps = {each["metadata"]["name"]: each["data"] for each in of_kind(dev, "ConfigMap")}
    with tempfile.TemporaryDirectory() as folder:
        address = f"127.{random.randrange(16, 250)}.{random.randrange(255)}.1"
        pod = Pod(server("dev"), "nats-0", address, Path(folder), Sources(configmaps, {}), str)
        pod.start()
        try:
            pod.wait("startupProbe")
            pod.wait("readinessProbe")
            assert pod.probe("livenessProbe")
            pod.before_stop()
        finally:
            pod.kill()
        assert "lame duck" in pod.told(50)
