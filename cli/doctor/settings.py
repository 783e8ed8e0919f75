"""Whether the settings are what they have to be, by the very code that reads them. Nothing is asked of anybody."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.doctor.check import Check, good, odd, wrong
from cli.up.plan import read_plan
from cli.up.refusal import StartRefusedError
from libs.egress import Policy
from libs.runtime.providers import read_endpoints
from libs.runtime.settings import Settings, read_settings

_OF_THE_COMMAND = ("HEADGATE_API_KEY", "HEADGATE_FSYNC", "HEADGATE_URL")
_FAMILIES = re.compile(r"HEADGATE_(PROVIDER|SECRET)_[A-Z0-9_]+")
_OWN = {f"HEADGATE_{name.upper()}" for name in Settings.__struct_fields__}
_EVERYTHING = ("0.0.0.0/0", "::/0")


def names(environment: Mapping[str, str]) -> Iterator[Check]:
    """Variables that nobody reads: most are spelled wrong."""
    known = {*_OWN, *(f"{name}_FILE" for name in _OWN), *_OF_THE_COMMAND}
    ours = sorted(name for name in environment if name.startswith("HEADGATE_"))
    strange = [name for name in ours if name not in known and not _FAMILIES.fullmatch(name)]
    for name in strange:
        near = difflib.get_close_matches(name, known, 1)
        yield odd(name, "nobody reads this variable", f"Did you mean {near[0]}?" if near else "Remove it.")
    if not strange:
        yield good("variables", f"{len(ours)} are set, each is read by somebody")


def values(environment: Mapping[str, str]) -> Iterator[Check]:
    """Whether each has a value of its kind."""
    for name in sorted(_OWN):
        path = environment.get(f"{name}_FILE")
        if path is not None and not Path(path).is_file():
            yield wrong(f"{name}_FILE", f"there is no file {path}", "Name a file that this user may read.")
            return
    try:
        read_settings(environment)
    except (ValueError, OSError) as error:
        yield wrong("values", str(error), "Set the variable to what it has to be, or remove it.")
        return
    yield good("values", "each is of its kind")


def plan(environment: Mapping[str, str]) -> Iterator[Check]:
    """Whether `headgate up` would begin."""
    counts = {"gateways": 1, "auths": 1, "executors": 1, "notifiers": 1}
    try:
        found = read_plan(environment, counts=counts, flows=None)
    except StartRefusedError as error:
        yield wrong("headgate up", str(error), "Without it `headgate up` does not start.")
        return
    if found.fsync == "interval":
        told = "HEADGATE_FSYNC=interval: a power failure takes up to two minutes of what was acknowledged"
        yield odd("durability", told, "Remove it, unless that is meant.")
    else:
        yield good("durability", "what is acknowledged is on disk")


def keys(environment: Mapping[str, str]) -> Iterator[Check]:
    """The two secrets of an installation, where they are given."""
    try:
        settings = read_settings(environment)
        if settings.master_key:
            _ = settings.master_secret
            yield good("master key", "is 32 bytes or more")
    except (ValueError, OSError) as error:
        yield wrong("master key", str(error), "openssl rand -base64 32 makes one; keep it as long as the data.")
        return
    if settings.admin_key and not re.fullmatch(r"sk-[!-~]{29,252}", settings.admin_key):
        told = "HEADGATE_ADMIN_KEY must begin with sk- and have 32 to 255 characters, none a space"
        yield wrong("admin key", told, "Set it to such a key, or remove it: one is made then.")


def egress(environment: Mapping[str, str]) -> Iterator[Check]:
    """What nodes and webhooks may reach besides public addresses."""
    text = environment.get("HEADGATE_EGRESS_ALLOW", "")
    try:
        Policy.parse(text)
    except ValueError as error:
        yield wrong("egress", f"HEADGATE_EGRESS_ALLOW: {error}", "List CIDRs, addresses or hosts, with commas between.")
        return
    if any(entry.strip() in _EVERYTHING for entry in text.split(",")):
        told = "every address may be reached, those of your own network and of the cloud's metadata too"
        yield odd("egress", told, "List only what flows have to reach.")
    else:
        yield good("egress", f"public addresses{f', and {text}' if text else ' only'}")


def providers(environment: Mapping[str, str]) -> Iterator[Check]:
    """The providers of models."""
    try:
        endpoints = read_endpoints(environment)
    except ValueError as error:
        yield wrong("models", str(error), "A base URL ends in /v1, such as https://models.example.com/v1.")
        return
    for name, endpoint in endpoints.items():
        if endpoint.api_key:
            yield good(f"models: {name}", f"at {endpoint.host}, with a key")
        elif name != "openai" or "OPENAI_BASE_URL" in environment:
            yield odd(f"models: {name}", f"at {endpoint.host}, without a key", "Set its key, unless it needs none.")
        else:
            yield good("models: openai", "not configured; the provider `echo` needs nothing")


def mail(environment: Mapping[str, str]) -> Iterator[Check]:
    """The mail server, and who mails are from."""
    try:
        settings = read_settings(environment)
        server = settings.mail_server
        _ = (settings.mail_sender, settings.alert_addresses, settings.mail_trust)
    except (ValueError, OSError) as error:
        yield wrong("mail", str(error), "docs/how-to/send-email.md says how it is written.")
        return
    yield good("mail", f"by {server.host}:{server.port}" if server else "nobody is sent mail")
