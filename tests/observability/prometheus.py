"""A real Prometheus (Debian's package) that scrapes a stack, with the rules of production on a faster clock."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cli.ports import random_port
from monitoring.files import RULES
from monitoring.rules import faster
from tests.stack import Stack

TIMES_FASTER = 30
LEAST_SECONDS = 6
"""No window may be shorter than a few scrapes."""

_SERVERS = ("nats", "postgres")


class Prometheus:
    """Made by `watching`."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, **query: str) -> Any:
        """What its API answers."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(query)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read())["data"]

    def value(self, query: str) -> float | None:
        """The value of a query with one result; None: it has none."""
        found = self.ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[tuple[str, str]]:
        """The alerts that fire now: their names, and the instance or service that they are about."""
        return {
            (each["labels"]["alertname"], each["labels"].get("instance") or each["labels"].get("service") or "")
            for each in self.ask("alerts")["alerts"]
            if each["state"] == "firing"
        }

    def faults(self) -> list[str]:
        """Rules that could not be evaluated."""
        return [
            f"{rule['name']}: {rule['lastError']}"
            for group in self.ask("rules")["groups"]
            for rule in group["rules"]
            if rule.get("lastError")
        ]


def installed() -> bool:
    """Whether there is one on this machine."""
    return shutil.which("prometheus") is not None


@contextmanager
def watching(stack: Stack, directory: Path) -> Iterator[Prometheus]:
    """Scrape every service of a stack every second."""
    targets = [each["url"].removeprefix("http://") for each in stack.processes() if each["service"] not in _SERVERS]
    (directory / "rules.yaml").write_text(faster(RULES.read_text(), TIMES_FASTER, LEAST_SECONDS))
    (directory / "prometheus.yml").write_text(
        json.dumps(  # which is YAML
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": ["rules.yaml"],
                "scrape_configs": [{"job_name": "headgate", "static_configs": [{"targets": targets}]}],
            }
        )
    )
    port = random_port()
    words = [
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "prometheus.log").open("w") as log:
        process = subprocess.Popen(["prometheus", *words], stdout=log, stderr=subprocess.STDOUT)
    try:
        _until_ready(port, process, directory / "prometheus.log")
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(timeout=15)


def _until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(log.read_text()[-2000:])
