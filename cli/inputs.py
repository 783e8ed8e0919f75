"""The input of a run, from what stands on the command line."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from cli.failures import CommandError


def read_input(document: str, fields: Sequence[str]) -> dict[str, Any]:
    """The object of `--input` (JSON, `@file`, `-`) with the `-i` fields laid over it.

    `name=text` is text, `name:=JSON` any value. Raises `CommandError` for what is neither.
    """
    given = _object(_text(document)) if document else {}
    return given | dict(_field(field) for field in fields)


def _text(document: str) -> str | bytes:
    if document == "-":
        return sys.stdin.buffer.read()
    if document.startswith("@"):
        try:
            return Path(document[1:]).read_bytes()
        except OSError as error:
            raise CommandError(f"--input {document}: {error.strerror}") from error
    return document


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CommandError(
            f"--input is not a JSON object: {error}", """Like this: --input '{"name": "Ada"}'"""
        ) from error


def _field(field: str) -> tuple[str, Any]:
    name, equals, value = field.partition("=")
    if not equals or not name.removesuffix(":"):
        raise CommandError(f"-i {field}: a field is given as name=text, or name:=JSON")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise CommandError(f"-i {field}: after := comes JSON: {error}") from error
