"""Flow documents on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cli.failures import CommandError


def read_document(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises `CommandError` when there is none."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CommandError(f"{file} is not a JSON object: {error}") from error


def faults_of(document: dict[str, Any]) -> list[tuple[str, str]]:
    """What a gateway would refuse the document for, as pairs of JSON pointer and reason; empty: nothing."""
    from libs.flows import InvalidFlow, load

    try:
        load(document)
    except InvalidFlow as refusal:
        return [(fault.pointer, fault.detail) for fault in refusal.faults]
    return []


def sample_input(document: Mapping[str, Any]) -> dict[str, Any]:
    """An input for a flow: the test values of its fields, or their defaults."""
    fields = [
        field
        for node in document.get("nodes", [])
        if node.get("type") == "api_input"
        for field in node.get("config", {}).get("fields", [])
    ]
    sample = {field["name"]: field.get("test_value", field.get("default")) for field in fields}
    return {name: value for name, value in sample.items() if value is not None}
