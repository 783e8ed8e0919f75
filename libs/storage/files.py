"""Files, in pieces of 256 KiB: written while they arrive, read while they are sent, never whole in memory here.

A file is there once its last piece is; one whose upload broke off, and one that was fetched for a run, has a time after
which it is gone. Whoever writes a file sweeps out a few of those.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec

from libs.runtime.ids import new_id
from libs.runtime.postgres import Database
from libs.runtime.sql import read_queries
from libs.storage.connection import Away, connection

CHUNK_BYTES = 256 * 1024
_UPLOAD_TIME = timedelta(hours=1)
FETCHED_TIME = timedelta(days=30)
"""How long a file is kept that was fetched for a run: as long as the run may be replayed with the same bytes."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file without its bytes; `size` counts them."""

    id: str
    name: str
    content_type: str
    size: int


class FileTooLarge(Exception):
    """The file has more bytes than it may have."""


class FileGone(Exception):
    """The file was deleted while it was read."""


class FileStore:
    """The files of all workspaces. Every method raises Away while PostgreSQL cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = read_queries(Path(__file__).with_name("files.sql"))

    async def write(
        self,
        workspace: str,
        name: str,
        content_type: str,
        chunks: AsyncIterator[bytes],
        *,
        max_bytes: int,
        origin: str | None = None,
    ) -> StoredFile:
        """Store what `chunks` gives. FileTooLarge past `max_bytes`; nothing is left of a file that broke off.

        With an `origin` the file is kept for `FETCHED_TIME`, and if another one of that origin is stored by then,
        that one is answered.
        """
        file_id = new_id("file")
        async with connection(self._database) as held:
            await held.execute(self._sql["drop_expired"])
            await held.execute(self._sql["begin_file"], file_id, workspace, name, content_type, _UPLOAD_TIME)
        try:
            size = await self._write_chunks(file_id, chunks, max_bytes)
            return await self._finish(workspace, file_id, size, origin)
        except BaseException:
            with suppress(Away):
                await self._drop(file_id)
            raise

    async def find(self, workspace: str, file_id: str) -> StoredFile | None:
        """A file of the workspace."""
        return await self._find("find_file", workspace, file_id)

    async def find_origin(self, workspace: str, origin: str) -> StoredFile | None:
        """The file that was fetched for `origin`."""
        return await self._find("find_origin", workspace, origin)

    async def read(self, file: StoredFile) -> AsyncIterator[bytes]:
        """The bytes, piece by piece; no connection is held between two of them. FileGone."""
        for number in range(-(-file.size // CHUNK_BYTES)):
            async with connection(self._database) as held:
                piece: bytes | None = await held.fetchval(self._sql["read_chunk"], file.id, number)
            if piece is None:
                raise FileGone
            yield piece

    async def delete(self, workspace: str, file_id: str) -> bool:
        """Delete a file; whether there was one."""
        async with connection(self._database) as held:
            return await held.fetchval(self._sql["delete_file"], workspace, file_id) is not None

    async def _write_chunks(self, file_id: str, chunks: AsyncIterator[bytes], max_bytes: int) -> int:
        size, number, pending = 0, 0, bytearray()
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise FileTooLarge
            pending += chunk
            while len(pending) >= CHUNK_BYTES:
                await self._write_chunk(file_id, number, bytes(pending[:CHUNK_BYTES]))
                del pending[:CHUNK_BYTES]
                number += 1
        if pending:
            await self._write_chunk(file_id, number, bytes(pending))
        return size

    async def _write_chunk(self, file_id: str, number: int, piece: bytes) -> None:
        async with connection(self._database) as held:
            await held.execute(self._sql["write_chunk"], file_id, number, piece)

    async def _finish(self, workspace: str, file_id: str, size: int, origin: str | None) -> StoredFile:
        async with connection(self._database) as held:
            try:
                kept = FETCHED_TIME if origin else None
                row = await held.fetchrow(self._sql["finish_file"], file_id, size, origin, kept)
            except asyncpg.UniqueViolationError:
                row = None
        found = _file(row) if row else await self._find("find_origin", workspace, origin or "")
        if found is None:
            raise Away
        if found.id != file_id:
            await self._drop(file_id)
        return found

    async def _find(self, query: str, workspace: str, key: str) -> StoredFile | None:
        async with connection(self._database) as held:
            row = await held.fetchrow(self._sql[query], workspace, key)
        return _file(row) if row else None

    async def _drop(self, file_id: str) -> None:
        async with connection(self._database) as held:
            await held.execute(self._sql["drop_file"], file_id)


def _file(row: "asyncpg.Record") -> StoredFile:
    return StoredFile(id=row["id"], name=row["name"], content_type=row["content_type"], size=row["size"])
