"""A pod of the rendered manifests as a process of this machine: its command, environment, files, probes and its end.

It has an address of its own in 127.0.0.0/8, so that its ports are the manifests' own. Its volumes are directories, put
where a container would find them by rewriting their paths in what it is given; what it may write is kept to its
`emptyDir`s and claims by the kernel. Every container has one process, so a pod here is its first container.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.k8s import confined
from tests.k8s.manifests import ROOT, Manifest, template_of

Resolve = Callable[[str], str]
"""Puts addresses in the place of the cluster's names."""

_WRITABLE = ("emptyDir", "claim")
_POLL_SECONDS = 0.05


class Sources:
    """What pods are given besides their template: the ConfigMaps, and the Secrets that are no part of the manifests."""

    def __init__(self, configmaps: Mapping[str, Mapping[str, str]], secrets: Mapping[str, Mapping[str, bytes]]) -> None:
        self.configmaps = configmaps
        self.secrets = secrets


class Pod:
    """One pod of a workload. `start`, then `probe` it, then `stop` it as the kubelet does."""

    def __init__(
        self, workload: Manifest, name: str, address: str, folder: Path, sources: Sources, resolve: Resolve
    ) -> None:
        self.name = name
        self.address = address
        self.template = template_of(workload)
        self.container: Manifest = self.template["spec"]["containers"][0]
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"
        self._claims = [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())]
        self._sources = sources
        self._resolve = resolve
        self._places = {
            mount["mountPath"]: folder / "volumes" / mount["name"] for mount in self.container["volumeMounts"]
        }

    @property
    def grace_seconds(self) -> float:
        """How long it may take to end."""
        return float(self.template["spec"].get("terminationGracePeriodSeconds", 30))

    def start(self) -> None:
        """Make its files, if there are none, and start its process."""
        writable = self._make_volumes()
        command = [self._local(word) for word in self.container["command"]]
        command[:1] = _program(command[0])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, confined.__file__, *map(str, writable), "--", *command],
                env=self._whole_environment(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def exec(self, *words: str) -> str:
        """What a command prints that is run in it, as by `kubectl exec`."""
        done = subprocess.run(
            [*_program(words[0]), *words[1:]],
            env=self._whole_environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _whole_environment(self) -> dict[str, str]:
        temporary = self._places.get("/tmp", self.folder)  # where the container has one
        return {"PATH": os.defpath, "TMPDIR": str(temporary), **image_environment(), **self.environment()}

    def environment(self) -> dict[str, str]:
        """Its variables, as the kubelet puts them together."""
        found: dict[str, str] = {}
        for source in self.container.get("envFrom", ()):
            if "configMapRef" in source:
                found |= self._sources.configmaps[source["configMapRef"]["name"]]
            elif source["secretRef"]["name"] in self._sources.secrets:
                secret = self._sources.secrets[source["secretRef"]["name"]]
                found |= {key: value.decode() for key, value in secret.items()}
            else:
                assert source["secretRef"].get("optional"), source
        for each in self.container.get("env", ()):
            value = each["value"] if "value" in each else self._referred(each["valueFrom"])
            if value is not None:
                found[each["name"]] = value
        return {name: self._local(value) for name, value in found.items()}

    def probe(self, kind: str) -> bool:
        """What `startupProbe`, `livenessProbe` or `readinessProbe` finds now."""
        request = self.container[kind]["httpGet"]
        port = request["port"]
        if isinstance(port, str):
            port = next(each["containerPort"] for each in self.container["ports"] if each["name"] == port)
        try:
            url = f"http://{self.address}:{port}{request['path']}"
            with urllib.request.urlopen(url, timeout=self.container[kind].get("timeoutSeconds", 1)) as answer:
                return 200 <= answer.status < 400
        except (OSError, urllib.error.URLError):
            return False

    def wait(self, kind: str, timeout_seconds: float = 60.0) -> None:
        """Return once the probe succeeds."""
        deadline = time.monotonic() + timeout_seconds
        while not self.probe(kind):
            assert self.process is not None
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.told()}"
            assert time.monotonic() < deadline, f"{self.name} does not pass its {kind}:\n{self.told()}"
            time.sleep(_POLL_SECONDS)

    def finished(self, timeout_seconds: float = 60.0) -> None:
        """Return once it has ended well, as a Job's pod does."""
        assert self.process is not None
        assert self.process.wait(timeout_seconds) == 0, self.told()

    def stop(self) -> float:
        """What the kubelet does to a pod that is deleted; the seconds that took, no more than the grace period."""
        assert self.process is not None
        began = time.monotonic()
        self.before_stop()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(self.grace_seconds - (time.monotonic() - began))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} outlived its grace period:\n{self.told()}") from None
        assert code == 0, f"{self.name} ended with {code}:\n{self.told()}"
        return time.monotonic() - began

    def before_stop(self) -> None:
        """Its `preStop`."""
        hook = self.container["lifecycle"]["preStop"]
        if "sleep" in hook:
            time.sleep(hook["sleep"]["seconds"])  # the manifest's own pause, in which balancers forget the pod
        else:
            words = [self._local(word) for word in hook["exec"]["command"]]
            subprocess.run([*_program(words[0]), *words[1:]], check=True, timeout=10, capture_output=True)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def told(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _make_volumes(self) -> list[Path]:
        """Directories for all its volumes; those that it may write."""
        writable = []
        for volume in [
            *self.template["spec"].get("volumes", ()),
            *({"name": each, "claim": {}} for each in self._claims),
        ]:
            place = self.folder / "volumes" / volume["name"]
            place.mkdir(parents=True, exist_ok=True)
            if any(kind in volume for kind in _WRITABLE):
                writable.append(place)
            for source in volume["projected"]["sources"] if "projected" in volume else [volume]:
                self._fill(place, source)
        return writable

    def _fill(self, place: Path, source: Manifest) -> None:
        if "configMap" in source:
            for name, text in self._sources.configmaps[source["configMap"]["name"]].items():
                (place / name).write_text(self._local(text))
        elif "secret" in source:
            named = source["secret"].get("secretName") or source["secret"]["name"]
            secret = self._sources.secrets[named]
            items = source["secret"].get("items") or [{"key": key, "path": key} for key in secret]
            for item in items:
                (place / item["path"]).write_bytes(secret[item["key"]])

    def _referred(self, source: dict[str, Any]) -> str | None:
        if "fieldRef" in source:
            assert source["fieldRef"] == {"fieldPath": "metadata.name"}, source
            return self.name
        reference = source["secretKeyRef"]
        if reference["name"] not in self._sources.secrets and reference.get("optional"):
            return None
        return self._sources.secrets[reference["name"]][reference["key"]].decode()

    def _local(self, text: str) -> str:
        """What the manifests say, said of this machine: its files, its address, the others' addresses."""
        paths = "|".join(map(re.escape, sorted(self._places, key=len, reverse=True)))
        text = re.sub(rf"(?<![\w./-])({paths})(?=[/\"'\s]|$)", lambda match: str(self._places[match[1]]), text)
        return self._resolve(text.replace("0.0.0.0", self.address))  # all addresses of a pod are one


def _program(word: str) -> list[str]:
    """A program of an image, as this machine has it."""
    if word == "python":
        return [sys.executable]
    if word == "headgate":
        return [sys.executable, "-m", "cli"]
    beside = Path(sys.executable).parent / word
    found = str(beside) if beside.exists() else shutil.which(word)
    assert found, f"there is no {word} here"
    return [found]


def image_environment() -> dict[str, str]:
    """The variables that our image sets in its last stage, but for where its programs are."""
    last = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", last, re.MULTILINE)
    return {name: value for name, value in re.findall(r"(\w+)=(\S+)", block) if name != "PATH"}
