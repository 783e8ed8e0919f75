"""Secrets by name: sealed before they leave the process, opened for the nodes that read them, shown to nobody."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from libs.runtime.failures import Terminal
from libs.runtime.postgres import Database
from libs.runtime.secrets import derive
from libs.runtime.sql import read_queries
from libs.storage.connection import connection
from libs.storage.sealing import BrokenSeal, seal, unseal

Recorded = Callable[[], Awaitable[None]]
"""Awaited before a change counts; what it raises undoes the change. So no change is missing where it is recorded."""


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret without its value."""

    name: str
    created_at: datetime
    updated_at: datetime


class SecretStore:
    """The secrets of all workspaces. Every method raises Away while PostgreSQL cannot be reached."""

    def __init__(self, database: Database, master_secret: bytes) -> None:
        self._database = database
        self._key = derive(master_secret, "secrets")
        self._sql = read_queries(Path(__file__).with_name("secrets.sql"))

    async def put(self, workspace: str, name: str, value: str, recorded: Recorded) -> tuple[Secret, bool]:
        """Set a secret; the second answer says whether it is new."""
        async with connection(self._database) as held, held.transaction():
            version: int = await held.fetchval(self._sql["next_version"])
            sealed = seal(self._key, value, (workspace, name, str(version)))
            (row,) = await held.fetch(self._sql["put_secret"], workspace, name, version, sealed)
            await recorded()
        return Secret(name=name, created_at=row["created_at"], updated_at=row["updated_at"]), row["created"]

    async def read(self, workspace: str, names: Iterable[str]) -> dict[str, str]:
        """The values of those of `names` that are set. Terminal where one cannot be opened."""
        async with connection(self._database) as held:
            rows = await held.fetch(self._sql["read_secrets"], workspace, list(names))
        return {row["name"]: self._open(workspace, row["name"], row["version"], row["sealed"]) for row in rows}

    async def page(self, workspace: str, after: tuple[datetime, str] | None, limit: int) -> list[Secret]:
        """Up to `limit` secrets, newest first, those after a place in that order."""
        async with connection(self._database) as held:
            rows = await held.fetch(self._sql["list_secrets"], workspace, *(after or (None, None)), limit)
        return [Secret(name=r["name"], created_at=r["created_at"], updated_at=r["updated_at"]) for r in rows]

    async def delete(self, workspace: str, name: str, recorded: Recorded) -> bool:
        """Delete a secret; whether there was one. Only then it is recorded."""
        async with connection(self._database) as held, held.transaction():
            if await held.fetchval(self._sql["delete_secret"], workspace, name) is None:
                return False
            await recorded()
        return True

    def _open(self, workspace: str, name: str, version: int, sealed: bytes) -> str:
        try:
            return unseal(self._key, sealed, (workspace, name, str(version)))
        except BrokenSeal:
            message = f"the secret {name!r} cannot be decrypted: another master key sealed it, or it was altered"
            raise Terminal("node_failed", message) from None
