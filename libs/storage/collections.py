"""Collections of documents, and the search in them.

By words: a document that has any word of the question is found; those that fit the whole of it, read as a web search is
(quotes, `or`, a minus), come first, in the upper half of the scores, by how near the words are to each other; below it
by how many of them there are. By meaning, where an embedding model is
configured: by the cosine of vectors, among the documents that this model has read; if there are none, by words. Scores
lie in [0, 1] and compare within one answer only.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from libs.runtime.ids import new_id
from libs.runtime.postgres import Connection, Database, migrate
from libs.runtime.sql import read_migrations, read_queries
from libs.storage.connection import connection
from libs.storage.embeddings import Embedder

_MAX_QUERY_CHARACTERS = 4_000

Place = tuple[datetime, str]


class NewDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection takes in. Neither part may hold NUL, which PostgreSQL's text has not."""

    text: str
    metadata: dict[str, Any] = {}


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A collection and how many documents it has."""

    name: str
    created_at: datetime
    documents: int = 0


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it was added."""

    id: str
    text: str
    metadata: msgspec.Raw
    created_at: datetime


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A document that a search found."""

    text: str
    score: float
    metadata: dict[str, Any]


class UnknownCollection(Exception):
    """The workspace has no collection of this name."""


class Collections:
    """The collections of all workspaces. Every method raises Away while PostgreSQL cannot be reached."""

    def __init__(self, database: Database, embedder: Embedder | None = None) -> None:
        self._database = database
        self._embedder = embedder
        self._sql = read_queries(Path(__file__).with_name("collections.sql"))
        self._has_vectors = False

    async def create(self, workspace: str, name: str) -> Collection | None:
        """A new collection; None when there is one of this name."""
        async with connection(self._database) as held:
            row = await held.fetchrow(self._sql["create_collection"], new_id("col"), workspace, name)
        return Collection(**row) if row else None

    async def page(self, workspace: str, after: Place | None, limit: int) -> list[Collection]:
        """Up to `limit` collections, newest first, those after a place in that order."""
        async with connection(self._database) as held:
            rows = await held.fetch(self._sql["list_collections"], workspace, *(after or (None, None)), limit)
        return [Collection(**row) for row in rows]

    async def find(self, workspace: str, name: str) -> Collection | None:
        """One collection."""
        async with connection(self._database) as held:
            row = await held.fetchrow(self._sql["find_collection"], workspace, name)
        return Collection(**row) if row else None

    async def delete(self, workspace: str, name: str) -> bool:
        """Delete a collection with its documents; whether there was one."""
        async with connection(self._database) as held:
            return await held.fetchval(self._sql["delete_collection"], workspace, name) is not None

    async def add(self, workspace: str, name: str, documents: Sequence[NewDocument]) -> list[str]:
        """Add all of the documents or none; their ids. UnknownCollection; what `Embedder.embed` raises."""
        async with connection(self._database) as held:
            collection_id = await self._id(held, workspace, name)
        texts = [document.text for document in documents]
        vectors = await self._embedder.embed(texts) if self._embedder else None
        ids = [new_id("doc") for _ in documents]
        metadata = [msgspec.json.encode(document.metadata).decode() for document in documents]
        async with connection(self._database) as held:
            if vectors is not None:
                await self._make_vectors(held)
            async with held.transaction():
                await held.execute(self._sql["add_documents"], collection_id, ids, texts, metadata)
                if self._embedder is not None and vectors is not None:
                    written = [_written(vector) for vector in vectors]
                    await held.execute(self._sql["add_vectors"], self._embedder.model, ids, written)
        return ids

    async def documents(self, workspace: str, name: str, after: Place | None, limit: int) -> list[Document]:
        """Up to `limit` documents, newest first, those after a place in that order. UnknownCollection."""
        async with connection(self._database) as held:
            collection_id = await self._id(held, workspace, name)
            rows = await held.fetch(self._sql["list_documents"], collection_id, *(after or (None, None)), limit)
        return [
            Document(id=r["id"], text=r["text"], metadata=msgspec.Raw(r["metadata"]), created_at=r["created_at"])
            for r in rows
        ]

    async def delete_document(self, workspace: str, name: str, document_id: str) -> bool:
        """Delete a document; whether there was one. UnknownCollection."""
        async with connection(self._database) as held:
            collection_id = await self._id(held, workspace, name)
            return await held.fetchval(self._sql["delete_document"], collection_id, document_id) is not None

    async def search(self, workspace: str, name: str, query: str, limit: int) -> list[Found]:
        """The `limit` documents that fit a question best. UnknownCollection; what `Embedder.embed` raises."""
        asked = query.replace("\x00", " ")[:_MAX_QUERY_CHARACTERS]
        vector = (await self._embedder.embed([asked]))[0] if self._embedder and asked.strip() else None
        async with connection(self._database) as held:
            collection_id = await self._id(held, workspace, name)
            rows = []
            if self._embedder is not None and vector is not None:
                await self._make_vectors(held)
                place = (collection_id, _written(vector), self._embedder.model, limit)
                rows = await held.fetch(self._sql["search_vectors"], *place)
            if not rows:
                rows = await held.fetch(self._sql["search_words"], collection_id, asked, limit)
        return [
            Found(text=r["text"], score=round(r["score"], 6), metadata=msgspec.json.decode(r["metadata"])) for r in rows
        ]

    async def _id(self, held: Connection, workspace: str, name: str) -> str:
        found: str | None = await held.fetchval(self._sql["collection_id"], workspace, name)
        if found is None:
            raise UnknownCollection
        return found

    async def _make_vectors(self, held: Connection) -> None:
        """The tables for vectors: made at their first use, since a PostgreSQL without pgvector serves for the rest."""
        if not self._has_vectors:
            await migrate(held, read_migrations(Path(__file__).with_name("vectors")))
            self._has_vectors = True


def _written(vector: Sequence[float]) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(map(repr, vector)) + "]"
