"""Loads a directory of flow documents into a running stack and deploys them, so that there is something to
call.

What was loaded is remembered in `examples.json` by the hash of its text: a flow that somebody edits in the
console stays as edited until its file changes.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cli.api import Api
from cli.up.installation import write_private
from cli.up.refusal import StartRefusedError

_WRITTEN_FOR = "http://127.0.0.1:8080"
"""The address that example documents name the gateway by."""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A flow document and where it came from."""

    file: Path
    slug: str
    document: dict[str, Any]
    fingerprint: str


def read_examples(directory: Path, address: str) -> list[Example]:
    """Every `*.json` of the directory, by name, for a gateway at `address`. `StartRefusedError` names a bad
    file.
    """
    found = []
    for file in sorted(directory.glob("*.json")):
        text = file.read_text().replace(_WRITTEN_FOR, address)
        try:
            document = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise StartRefusedError(f"{file} is not a JSON object: {error}") from error
        found.append(
            Example(
                file=file,
                slug=str(document.get("slug") or file.stem),
                document={"slug": file.stem, **document},
                fingerprint=hashlib.sha256(text.encode()).hexdigest(),
            )
        )
    return found


async def load(api: Api, example: Example, *, flows: Mapping[str, str], seen: Mapping[str, str]) -> str:
    """Create the flow or, if its file changed, a version of it; see to its production deployment. The
    deployment's id.

    `flows` maps slugs to ids of what the server has, `seen` slugs to fingerprints of what was loaded before.
    """
    flow_id = flows.get(example.slug)
    version: int | None = None
    if flow_id is None:
        flow_id = str((await api.call("POST", "/v1/flows", body=example.document))["id"])
    elif seen.get(example.slug) != example.fingerprint:
        version = (await api.call("PUT", f"/v1/flows/{flow_id}", body=example.document))["version"]
    deployed = [
        each
        async for each in api.pages("/v1/deployments", {"flow_id": flow_id})
        if each["flow_id"] == flow_id and each["type"] == "production"
    ]
    if not deployed:
        wanted = {"name": example.document.get("name", example.slug), "type": "production", "mode": "sync"}
        return str((await api.call("POST", f"/v1/flows/{flow_id}/deployments", body=wanted))["id"])
    if version is not None:
        await api.call("PATCH", f"/v1/deployments/{deployed[0]['id']}", body={"version": version})
    return str(deployed[0]["id"])


def recall(memory: Path) -> dict[str, str]:
    """The fingerprints of what was loaded before, by slug; nothing when the file is missing or damaged."""
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return {}


def remember(memory: Path, loaded: Mapping[str, str]) -> None:
    """Keep the fingerprints for the next start."""
    write_private(memory, msgspec.json.encode(loaded).decode())
