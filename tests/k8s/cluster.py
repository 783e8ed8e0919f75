"""The production overlay on this machine: its three-node NATS with its users, and its services, each pod a process.

What Kubernetes and operators would do is done here as plainly as can be: names become addresses, cert-manager's and
CloudNativePG's Secrets are made, Secrets of the installation come from `headgate cluster-secrets`. One thing differs:
the embedded PostgreSQL speaks no TLS.
"""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.cluster_secrets import cluster_secrets
from libs.events.access import Access
from tests.k8s.certificates import tls_secret
from tests.k8s.manifests import Manifest, named, of_kind, overlay
from tests.k8s.pod import Pod, Sources


class Cluster:
    """Pods are made by `pod`, and all of them are gone when the context of `cluster` is left."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.manifests = overlay("production")
        self.folder = folder
        self.pods: list[Pod] = []
        self._net = f"127.{random.randrange(16, 250)}.{random.randrange(0, 255)}"
        self._addresses: dict[str, str] = {}
        self.secrets = self._secrets(dsn)
        configmaps = {each["metadata"]["name"]: each["data"] for each in of_kind(self.manifests, "ConfigMap")}
        self._sources = Sources(configmaps, self.secrets)

    def address(self, name: str) -> str:
        """The address of a name of the cluster: always the same, and nobody else's."""
        if name not in self._addresses:
            self._addresses[name] = f"{self._net}.{len(self._addresses) + 1}"
        return self._addresses[name]

    def pod(self, kind: str, workload: str, name: str) -> Pod:
        """A pod of a workload, not yet started."""
        manifest = named(self.manifests, kind, workload)
        known = f"{name}.{workload}" if kind == "StatefulSet" else name
        pod = Pod(manifest, name, self.address(known), self.folder / name, self._sources, self._resolve)
        pod.folder.mkdir()
        pod.log.touch()
        self.pods.append(pod)
        return pod

    def nats(self) -> list[Pod]:
        """The servers of the log, started and ready."""
        replicas = named(self.manifests, "StatefulSet", "nats")["spec"]["replicas"]
        servers = [self.pod("StatefulSet", "nats", f"nats-{index}") for index in range(replicas)]
        for server in servers:
            server.start()
        for server in servers:
            server.wait("startupProbe")
            server.wait("readinessProbe")
        return servers

    def migrate(self) -> None:
        """Run the Job to its end."""
        job = self.pod("Job", "migrate", f"migrate-{len(self.pods)}")
        job.start()
        job.finished()

    def access(self, user: str) -> Access:
        """What a user of NATS has: the service's own key, and whom it believes."""
        seed = self.secrets[f"headgate-nats-{user}"]["seed"].decode()
        authorities = self.secrets["headgate-nats-tls"]["ca.crt"].decode()
        return Access(inboxes=f"_INBOX.{user}", nkey=seed, authorities=authorities)

    @property
    def nats_urls(self) -> str:
        """Where services find NATS, of this machine."""
        (settings,) = (each for each in of_kind(self.manifests, "ConfigMap") if "HEADGATE_NATS_URL" in each["data"])
        return self._resolve(settings["data"]["HEADGATE_NATS_URL"])

    def _secrets(self, dsn: str) -> dict[str, dict[str, bytes]]:
        found = {
            each["metadata"]["name"]: {key: value.encode() for key, value in each["stringData"].items()}
            for each in cluster_secrets("headgate")
        }
        (certificate,) = (each for each in of_kind(self.manifests, "Certificate") if "dnsNames" in each["spec"])
        replicas = named(self.manifests, "StatefulSet", "nats")["spec"]["replicas"]
        servers = [self.address(f"nats-{index}.nats") for index in range(replicas)]
        spec = certificate["spec"]
        found[spec["secretName"]] = tls_secret(spec["dnsNames"], servers, spec["usages"])
        found["headgate-postgres-app"] = {"uri": f"{dsn}?sslmode=disable".encode()}
        found["headgate-postgres-ca"] = {"ca.crt": found[spec["secretName"]]["ca.crt"]}
        return found

    def _resolve(self, text: str) -> str:
        return re.sub(r"\bnats-\d+\.nats\b", lambda match: self.address(match[0]), text)


@contextmanager
def cluster(folder: Path, dsn: str) -> Iterator[Cluster]:
    """A cluster on an empty database; nothing runs in it yet."""
    found = Cluster(folder, dsn)
    try:
        yield found
    finally:
        for pod in found.pods:
            pod.kill()


def deployments(manifests: tuple[Manifest, ...]) -> list[str]:
    """The services, in an order in which they may be started."""
    return [each["metadata"]["name"] for each in of_kind(manifests, "Deployment")]
