"""The stores by themselves, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from libs.egress import Egress, Policy
from libs.runtime.failures import Retryable, Terminal
from libs.runtime.postgres import Database
from libs.runtime.providers import Endpoint
from libs.storage import Away
from libs.storage.collections import Collections, NewDocument
from libs.storage.embeddings import embedder
from libs.storage.files import CHUNK_BYTES, FileGone, FileStore, FileTooLarge
from libs.storage.secrets import SecretStore
from tests.e2e.target import serving

MASTER = b"m" * 32


async def nothing() -> None:
    """A change that need not be recorded."""


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    for number, size in enumerate(sizes):
        yield bytes([number]) * size


async def count(tables: Database, table: str) -> int:
    assert tables.pool is not None
    found: int = await tables.pool.fetchval(f"SELECT count(*) FROM {table}")
    return found


async def test_a_file_is_stored_while_it_arrives_and_is_there_when_it_is_whole(tables: Database) -> None:
    store = FileStore(tables)
    seen: list[int] = []

    async def watched() -> AsyncIterator[bytes]:
        async for piece in pieces(100, CHUNK_BYTES * 2, 50):
            yield piece
            seen.append(await count(tables, "file_chunks"))

    file = await store.write("ws", "n", "text/plain", watched(), max_bytes=CHUNK_BYTES * 3)
    assert seen == [0, 2, 2]
    parts = [part async for part in store.read(file)]
    assert [len(part) for part in parts] == [CHUNK_BYTES, CHUNK_BYTES, 150]
    assert b"".join(parts) == b"".join([piece async for piece in pieces(100, CHUNK_BYTES * 2, 50)])
    assert await store.find("ws", file.id) == file
    assert await store.find("other", file.id) is None


async def test_nothing_is_left_of_a_file_that_broke_off(tables: Database) -> None:
    store = FileStore(tables)

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * CHUNK_BYTES
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.write("ws", "n", "t/t", broken(), max_bytes=CHUNK_BYTES * 9)
    with pytest.raises(FileTooLarge):
        await store.write("ws", "n", "t/t", pieces(CHUNK_BYTES, 1), max_bytes=CHUNK_BYTES)
    assert await count(tables, "files") == 0
    assert await count(tables, "file_chunks") == 0


async def test_what_is_fetched_twice_at_once_is_stored_once(tables: Database) -> None:
    store = FileStore(tables)
    written = [store.write("ws", "n", "t/t", pieces(CHUNK_BYTES + 1), max_bytes=10**6, origin="run/doc") for _ in "ab"]
    first, second = await asyncio.gather(*written)
    assert first == second
    assert await store.find_origin("ws", "run/doc") == first
    assert await count(tables, "files") == 1
    assert await count(tables, "file_chunks") == 2


async def test_files_end_with_their_time_or_while_they_are_read(tables: Database) -> None:
    store = FileStore(tables)
    old = await store.write("ws", "n", "t/t", pieces(9), max_bytes=9, origin="run/old")
    assert tables.pool is not None
    await tables.pool.execute("UPDATE files SET expires_at = now() - interval '1 second'")
    assert await store.find("ws", old.id) is None
    assert await store.find_origin("ws", "run/old") is None
    file = await store.write("ws", "n", "t/t", pieces(CHUNK_BYTES * 2), max_bytes=CHUNK_BYTES * 2)
    assert await count(tables, "files") == 1
    reading = store.read(file)
    await anext(reading)
    assert await store.delete("ws", file.id)
    with pytest.raises(FileGone):
        await anext(reading)


async def test_a_secret_opens_where_it_was_sealed_and_nowhere_else(tables: Database) -> None:
    store = SecretStore(tables, MASTER)
    await store.put("ws", "A", "value of a", nothing)
    await store.put("ws", "B", "value of b", nothing)
    assert await store.read("ws", ["A", "B", "C"]) == {"A": "value of a", "B": "value of b"}
    assert await store.read("other", ["A"]) == {}
    assert tables.pool is not None
    sealed = await tables.pool.fetchval("SELECT sealed FROM secrets WHERE name = 'A'")
    assert b"value" not in sealed
    await store.put("ws", "A", "newer", nothing)
    for moved in ("UPDATE secrets SET sealed = $1 WHERE name = 'B'", "UPDATE secrets SET sealed = $1 WHERE name = 'A'"):
        await tables.pool.execute(moved, sealed)
    for name in ("A", "B"):
        with pytest.raises(Terminal) as failure:
            await store.read("ws", [name])
        assert name in failure.value.message
    await store.put("ws", "A", "value of a", nothing)
    with pytest.raises(Terminal):
        await SecretStore(tables, b"n" * 32).read("ws", ["A"])


async def test_a_change_that_could_not_be_recorded_did_not_happen(tables: Database) -> None:
    store = SecretStore(tables, MASTER)

    async def fails() -> None:
        raise Retryable("unavailable", "the log is away")

    await store.put("ws", "A", "first", nothing)
    with pytest.raises(Retryable):
        await store.put("ws", "A", "second", fails)
    with pytest.raises(Retryable):
        await store.delete("ws", "A", fails)
    assert await store.read("ws", ["A"]) == {"A": "first"}
    assert await store.delete("ws", "A", nothing)
    assert not await store.delete("ws", "A", fails)


async def test_without_a_database_everything_says_so() -> None:
    nowhere = Database()
    with pytest.raises(Away):
        await FileStore(nowhere).find("ws", "file_1")
    with pytest.raises(Away):
        await SecretStore(nowhere, MASTER).read("ws", ["A"])
    with pytest.raises(Away):
        await Collections(nowhere).search("ws", "c", "q", 4)


MEANINGS = {"car": 0, "automobile": 0, "fruit": 1, "apple": 1}


def vector_of(text: str) -> list[float]:
    found = [0.0, 0.0, 0.1]
    for word in text.lower().split():
        if word in MEANINGS:
            found[MEANINGS[word]] += 1.0
    return found


class EmbeddingModel:
    """The embeddings endpoint of a provider; answers in any order, or with `status`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.status = 200
        self.authorization = ""

    async def embed(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.asked.append((body["model"], len(body["input"])))
        self.authorization = request.headers["Authorization"]
        data = [{"index": at, "embedding": vector_of(text)} for at, text in enumerate(body["input"])]
        return web.json_response({"data": data[::-1]}, status=self.status)


@pytest.fixture
async def embedding(tables: Database) -> AsyncIterator[tuple[Collections, EmbeddingModel]]:
    model = EmbeddingModel()
    app = web.Application(client_max_size=0)
    app.router.add_post("/v1/embeddings", model.embed)
    async with serving(app) as port, Egress(Policy.parse("127.0.0.1")) as egress:
        endpoints = {"openai": Endpoint(base_url=f"http://127.0.0.1:{port}/v1/", api_key="key-of-the-provider")}
        yield Collections(tables, embedder(egress, endpoints, "openai/text-embed/3")), model


async def test_with_an_embedding_model_meaning_is_searched(embedding: tuple[Collections, EmbeddingModel]) -> None:
    collections, model = embedding
    await collections.create("ws", "things")
    texts = ["an automobile for sale", "fruit from the garden", *["nothing of note"] * 70]
    await collections.add("ws", "things", [NewDocument(text=text, metadata={"n": len(text)}) for text in texts])
    assert model.asked == [("text-embed/3", 64), ("text-embed/3", 8)]
    assert model.authorization == "Bearer key-of-the-provider"
    first, *rest = await collections.search("ws", "things", "which car", 4)
    assert (first.text, first.metadata) == (texts[0], {"n": 22})
    assert first.score > 0.99
    assert len(rest) == 3
    assert all(0 <= each.score < 0.5 for each in rest)
    (apple,) = await collections.search("ws", "things", "apple", 1)
    assert apple.text == texts[1]


async def test_documents_of_no_model_are_searched_by_their_words(
    tables: Database, embedding: tuple[Collections, EmbeddingModel]
) -> None:
    plain = Collections(tables)
    await plain.create("ws", "older")
    await plain.add("ws", "older", [NewDocument(text="a word about cars")])
    (found,) = await embedding[0].search("ws", "older", "words", 4)
    assert found.text == "a word about cars"


async def test_what_cannot_be_embedded_is_not_added(embedding: tuple[Collections, EmbeddingModel]) -> None:
    collections, model = embedding
    await collections.create("ws", "failing")
    for status, expected in ((503, Retryable), (429, Retryable), (400, Terminal)):
        model.status = status
        with pytest.raises(expected) as failure:
            await collections.add("ws", "failing", [NewDocument(text="car")])
        assert str(status) in failure.value.message
        assert "key-of" not in failure.value.message
    found = await collections.find("ws", "failing")
    assert found is not None
    assert found.documents == 0


async def test_an_embedding_model_of_nobody_is_refused_at_the_start() -> None:
    async with Egress(Policy()) as egress:
        assert embedder(egress, {}, "") is None
        for model in ("openai", "openai/", "nobody/x"):
            with pytest.raises(ValueError, match="HEADGATE_EMBEDDING_MODEL"):
                embedder(egress, {"openai": Endpoint(base_url="http://x/v1")}, model)
