"""Whether what the settings name is there: the data directory, NATS, PostgreSQL, a collector of traces."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from cli.doctor.check import Check, good, odd, wrong

_SECONDS = 3.0
_ROOM_BYTES = 2 * 1024**3
_GREETING = b"INFO "


class _Info(msgspec.Struct, frozen=True):
    version: str = ""
    jetstream: bool = False


def machine(environment: Mapping[str, str]) -> Iterator[Check]:
    """The data directory, and room on its disk."""
    data = Path(environment.get("HEADGATE_DATA") or ".headgate").absolute()
    there = data
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        yield wrong("data", f"{there} cannot be written", "Set HEADGATE_DATA to a directory of this user's.")
        return
    usage = os.statvfs(there)
    free = usage.f_bavail * usage.f_frsize
    if free < _ROOM_BYTES:
        yield odd("data", f"{data}: {free / 1e9:.1f} GB are free", "The log grows with every run: give it more room.")
    else:
        yield good("data", f"{data}, {free / 1e9:.1f} GB free")


async def nats(environment: Mapping[str, str]) -> list[Check]:
    """Each server of `HEADGATE_NATS_URL`: its greeting says whether it has JetStream."""
    urls = environment.get("HEADGATE_NATS_URL", "")
    if not urls:
        return [good("NATS", "the embedded server, which `headgate up` starts")]
    return [await _greeting(url.strip()) for url in urls.split(",")]


async def _greeting(url: str) -> Check:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    try:
        host, port = parts.hostname or "", parts.port or 4222
    except ValueError:
        return wrong("NATS", "HEADGATE_NATS_URL is no URL", "Write it as nats://host:4222.")
    place = f"{host}:{port}"
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        return wrong("NATS", f"{place} does not answer ({_reason(error)})", "Start it, or correct HEADGATE_NATS_URL.")
    if not line.startswith(_GREETING):
        return wrong("NATS", f"what answers at {place} is no NATS server", "Correct HEADGATE_NATS_URL.")
    try:
        info = msgspec.json.decode(line[len(_GREETING) :], type=_Info)
    except msgspec.MsgspecError:
        return wrong("NATS", f"the greeting of {place} cannot be read", "Is it a NATS server?")
    if not info.jetstream:
        return wrong("NATS", f"{place} runs without JetStream", "Configure `jetstream` on it: the log lies there.")
    return good("NATS", f"{place}, version {info.version}, with JetStream")


async def postgres(environment: Mapping[str, str]) -> list[Check]:
    """Whether PostgreSQL lets us in."""
    dsn = environment.get("HEADGATE_POSTGRES_DSN", "")
    if not dsn:
        return [good("PostgreSQL", "the embedded server, which `headgate up` starts")]
    import asyncpg

    try:
        connection = await asyncpg.connect(dsn, timeout=_SECONDS)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        told = f"it does not let us in ({type(error).__name__})"
        return [wrong("PostgreSQL", told, "Start it, or correct HEADGATE_POSTGRES_DSN: host, port, user, password.")]
    version = connection.get_server_version()
    await connection.close(timeout=_SECONDS)
    return [good("PostgreSQL", f"version {version.major}.{version.minor}")]


async def telemetry(environment: Mapping[str, str]) -> list[Check]:
    """Whether somebody takes the spans."""
    variables = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    url = next((environment[name] for name in variables if environment.get(name)), "")
    if not url:
        return [good("traces", "off: no OTEL_EXPORTER_OTLP_ENDPOINT")]
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        do = "Start the collector (OTLP over HTTP, mostly port 4318), or remove the variable."
        return [odd("traces", f"nobody takes them at {parts.netloc.rpartition('@')[2]} ({_reason(error)})", do)]
    return [good("traces", f"to {host}:{port}")]


def _reason(error: Exception) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else getattr(error, "strerror", "") or "no such place"
