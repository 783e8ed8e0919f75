"""What one `headgate up` is to run, from its options and the environment; decided here, done elsewhere."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from cli.up.refusal import StartRefusedError
from libs.runtime.settings import read_settings

SERVICES = ("auth", "executor", "notifier", "gateway")
"""In the order of starting: what others wait for comes first."""

_OTHER_PORTS_FROM = 1220
"""Above the first gateway's port lie those of the other services: 8080 and 9300."""

_NOT_FOR_SERVICES = frozenset(
    {"HEADGATE_ADMIN_KEY", "HEADGATE_API_KEY", "HEADGATE_URL", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
)


_GIVEN_BY_US = {
    "HEADGATE_PORT": "0",
    "HEADGATE_INDEX": "0",
    "HEADGATE_PARENT_FD": "-1",
    "HEADGATE_MASTER_KEY": "",
}
"""What services get from us (`service_environment`), whatever is set outside."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How many of each service, where, on which data. An empty URL means: the embedded server."""

    gateways: int = 1
    auths: int = 1
    executors: int = 1
    notifiers: int = 1
    port: int = 8080
    host: str = "127.0.0.1"
    data: Path
    flows: Path | None = None
    nats_url: str = ""
    postgres_dsn: str = ""
    fsync: Literal["always", "interval"] = "always"
    egress_allow: str = ""

    def count(self, service: str) -> int:
        """How many processes of a service are wanted."""
        return {
            "gateway": self.gateways,
            "auth": self.auths,
            "executor": self.executors,
            "notifier": self.notifiers,
        }[service]

    @property
    def address(self) -> str:
        """Where the first gateway answers on this machine."""
        return f"http://127.0.0.1:{self.port}"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One service process and its port."""

    service: str
    index: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def read_plan(environment: Mapping[str, str], *, counts: Mapping[str, int], flows: Path | None) -> Plan:
    """The plan of the command's options (`counts` by plural, `flows`) and the environment's variables.

    Raises `StartRefusedError` naming the variable that does not fit.
    """
    port = _port(environment.get("HEADGATE_PORT") or "8080", counts["gateways"])
    fsync = environment.get("HEADGATE_FSYNC") or "always"
    if fsync not in ("always", "interval"):
        raise StartRefusedError(f"HEADGATE_FSYNC is {fsync!r}: it is either always or interval")
    if flows is not None and not flows.is_dir():
        raise StartRefusedError(f"--flows {flows}: there is no such directory")
    _check_settings(environment)
    return Plan(
        **counts,
        port=port,
        host=environment.get("HEADGATE_HOST") or "127.0.0.1",
        data=Path(environment.get("HEADGATE_DATA") or ".headgate").absolute(),
        flows=flows,
        nats_url=environment.get("HEADGATE_NATS_URL", ""),
        postgres_dsn=environment.get("HEADGATE_POSTGRES_DSN", ""),
        fsync="interval" if fsync == "interval" else "always",
        egress_allow=environment.get("HEADGATE_EGRESS_ALLOW", ""),
    )


def _check_settings(environment: Mapping[str, str]) -> None:
    """What no service would start with is said here once, not by each of them again and again."""
    try:
        read_settings({**environment, **_GIVEN_BY_US})
    except ValueError as error:
        raise StartRefusedError(str(error)) from error


def _port(text: str, gateways: int) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65536 - gateways:
        raise StartRefusedError(f"HEADGATE_PORT is {text!r}: it is a port number with room for {gateways} gateways")
    return int(text)


def places(plan: Plan, *, next_port: Callable[[int], int]) -> list[Place]:
    """Every service process with its port: the gateways' are consecutive, `next_port(start)` finds the
    others.
    """
    found: list[Place] = []
    start = plan.port + _OTHER_PORTS_FROM if plan.port < 60000 else 20000
    for service in SERVICES:
        for index in range(plan.count(service)):
            if service == "gateway":
                port = plan.port + index
            else:
                port = next_port(start)
                start = port + 1
            found.append(Place(service=service, index=index, port=port))
    return found


def service_environment(
    place: Place,
    *,
    plan: Plan,
    inherited: Mapping[str, str],
    nats_url: str,
    postgres_dsn: str,
    admin_key: str,
    parent_fd: int,
) -> dict[str, str]:
    """The environment of one service process: what the user set, and where everything is.

    Only gateways listen where `HEADGATE_HOST` says, and only auth is told the admin key.
    """
    environment = {name: value for name, value in inherited.items() if name not in _NOT_FOR_SERVICES}
    environment |= {
        "HEADGATE_SERVICE": place.service,
        "HEADGATE_INDEX": str(place.index),
        "HEADGATE_HOST": plan.host if place.service == "gateway" else "127.0.0.1",
        "HEADGATE_PORT": str(place.port),
        "HEADGATE_NATS_URL": nats_url,
        "HEADGATE_POSTGRES_DSN": postgres_dsn,
        "HEADGATE_MASTER_KEY_FILE": str(plan.data / "master.key"),
        "HEADGATE_DATA": str(plan.data),
        "HEADGATE_PARENT_FD": str(parent_fd),
    }
    if place.service == "auth":
        environment["HEADGATE_ADMIN_KEY"] = admin_key
    return environment
