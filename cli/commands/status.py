"""`headgate status`: how an installation does, what is wrong and what to do."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from cli.commands.options import Json, Key, Url, key_file, run, server, server_address

if TYPE_CHECKING:
    from cli.api import ApiError


def status(json: Json = False, url: Url = "", key: Key = "") -> None:
    """Show each service, what waits, how full it is, what is wrong and what to do. Exit code 1 if anything is
    critical. The key is the root workspace's admin's.
    """
    run(_status(json, url, key))


async def _status(json: bool, url: str, key: str) -> None:
    from cli.api import ApiError
    from cli.output import print_json

    try:
        async with server(url, key) as api:
            found: dict[str, Any] = await api.call("GET", "/v1/operations/status")
    except ApiError as error:
        if error.status != 503:
            raise
        found = await _unavailable(url, error)
    found["findings"] = _absent(found, url) + found["findings"]
    if json:
        print_json(found)
    else:
        _print(found)
    if any(each["severity"] == "critical" for each in found["findings"]):
        raise typer.Exit(1)


async def _unavailable(url: str, error: "ApiError") -> dict[str, Any]:
    """What is known of a gateway that cannot say more: what it lacks."""
    import aiohttp

    from cli.api import is_ready

    async with aiohttp.ClientSession() as session:
        ready, told = await is_ready(session, server_address(url))
    what = "The gateway is ready, and cannot say how the rest does." if ready else f"The gateway is not ready: {told}"
    do = "Look at what it lacks (nats: the broker; keys: auth) and at the ends of the logs."
    finding = {"severity": "critical", "what": f"{what} ({error})", "do": do}
    return {"findings": [finding], "services": [], "waiting": [], "tables": None, "streams": []}


def _absent(found: dict[str, Any], url: str) -> list[dict[str, str]]:
    """Processes of this machine's `headgate up` that do not answer, where it is the one that was asked."""
    import msgspec

    try:
        register = msgspec.json.decode((key_file().parent / "processes.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return []
    if not found["services"] or server_address(url) not in {each["url"] for each in register}:
        return []
    there = Counter(each["service"] for each in found["services"])
    wanted = Counter(each["service"] for each in register if each["service"] not in ("nats", "postgres"))
    return [
        {
            "severity": "warning",
            "what": f"{there[service]} of {count} {service} processes answer.",
            "do": f"Look at the ends of {service}-*.log in {key_file().parent / 'logs'}.",
        }
        for service, count in wanted.items()
        if 0 < there[service] < count
    ]


def _print(found: dict[str, Any]) -> None:
    from cli.output import print_facts, print_judgements, print_table

    findings = [(each["severity"], each["what"], each["do"]) for each in found["findings"]]
    print_judgements(findings or [("good", "All is well.", "")])
    if not found["services"]:
        return
    waiting = [[e["consumer"], e["pending"], e["in_hand"], e["oldest_seconds"]] for e in found["waiting"]]
    tables = [[f"{e['table']} of {e['stream']}", e["messages"], e["seconds"]] for e in found["tables"] or ()]
    streams = [[e["stream"], e["messages"], e["bytes"] / 1e6] for e in found["streams"] if e["messages"]]
    for columns, rows in (
        (["SERVICE", "STATE", "VERSION", "SINCE"], [_service(each) for each in found["services"]]),
        (["WAITS FOR", "WAITING", "IN HAND", "OLDEST S"], waiting),
        (["TABLE", "BEHIND", "FOR S"], tables),
        (["STREAM", "MESSAGES", "MB"], streams),
    ):
        print()
        print_table(columns, rows, empty=f"{columns[0]}: none.")
    print()
    print_facts(_sizes(found))


def _sizes(found: dict[str, Any]) -> dict[str, str]:
    disk, limit = found["disk"], found["log_limit_bytes"]
    return {
        "log": f"{found['log_bytes'] / 1e6:.1f} MB" + (f" of {limit / 1e6:.0f}" if limit else ""),
        "dead letters": str(found["dead_letters"]),
        **({"disk": f"{disk['free_bytes'] / 1e9:.1f} GB free of {disk['total_bytes'] / 1e9:.1f}"} if disk else {}),
    }


def _service(each: dict[str, Any]) -> list[str | None]:
    from cli.output import day_and_time

    state = ", ".join(each["missing"]) or "ready"
    return [f"{each['service']}-{each['index']}", state, each["version"], day_and_time(each["started_at"])]
