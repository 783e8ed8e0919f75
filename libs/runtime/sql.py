"""SQL is SQL: migrations and statements live in `.sql` files; statements each under a line `-- name: …`."""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def read_migrations(folder: Path) -> dict[str, str]:
    """The migrations of a folder, text by file name."""
    return {file.name: file.read_text() for file in folder.glob("*.sql")}


def read_queries(file: Path) -> dict[str, str]:
    """The statements of a file by name. ValueError when it has none."""
    parts = _NAME.split(file.read_text())
    if len(parts) < 3:
        raise ValueError(f"{file.name} has no `-- name:` line")
    return {name: text.strip().rstrip(";") for name, text in zip(parts[1::2], parts[2::2], strict=True)}
