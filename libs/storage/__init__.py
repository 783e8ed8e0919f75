"""What lies in PostgreSQL and nowhere else: files, secrets, collections. Everything else there is a reading of the log.

Nothing here knows runs, HTTP or who may do what: callers give the workspace, and see no other's.
"""

from pathlib import Path

from libs.runtime.sql import read_migrations
from libs.storage.connection import Away

__all__ = ["Away", "migrations"]


def migrations() -> dict[str, str]:
    """The schema, for whichever process connects first. Vectors have one of their own, made when they are used."""
    return read_migrations(Path(__file__).with_name("schema"))
