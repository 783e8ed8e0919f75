"""What tables hold, in one line: two that hold the same rows have the same digest, in whatever order they lie."""

import hashlib
from collections.abc import Iterable

import msgspec

from libs.runtime.postgres import Connection

_SECONDS = 3600.0
"""A hundred million rows take a while."""


_STATEMENT = """
SELECT count(*) AS rows,
       coalesce(sum(('x' || left(hash, 16))::bit(64)::bigint), 0)::text AS head,
       coalesce(sum(('x' || right(hash, 16))::bit(64)::bigint), 0)::text AS tail
FROM (SELECT md5(t::text) AS hash FROM {table} AS t) AS hashes
"""


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """The digest of some tables, and how many rows each has."""

    value: str
    rows: dict[str, int]


async def digest_of(connection: Connection, tables: Iterable[str]) -> Digest:
    """The digest of the tables that the connection finds under these names; times are compared in its time zone.

    For each row the two halves of the MD5 of its text, added up: sums know no order, and need no memory.
    """
    rows: dict[str, int] = {}
    whole = hashlib.sha256()
    for table in sorted(tables):
        found = await connection.fetchrow(
            _STATEMENT.format(table=table),  # a name of ours
            timeout=_SECONDS,
        )
        if found is None:
            raise RuntimeError("an aggregate has one row")
        rows[table] = found["rows"]
        whole.update(f"{table} {found['rows']} {found['head']} {found['tail']}\n".encode())
    return Digest(value=f"sha256:{whole.hexdigest()}", rows=rows)
