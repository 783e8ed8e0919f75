"""Embeddings by the OpenAI protocol: `POST <base>/embeddings` with `{"model", "input": [...]}`.

A text is embedded by its first 8,000 characters: models refuse what is longer, and a passage that is to be found should
be shorter anyway.
"""

from collections.abc import Mapping, Sequence

import msgspec

from libs.egress import Egress, Request
from libs.runtime.failures import Failure, Retryable, Terminal
from libs.runtime.providers import Endpoint

_BATCH = 64
_MAX_CHARACTERS = 8_000
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_TIMEOUT_SECONDS = 60.0
_PASSING = frozenset({408, 409, 425, 429})


class _Item(msgspec.Struct, frozen=True):
    index: int
    embedding: list[float]


class _Body(msgspec.Struct, frozen=True):
    data: list[_Item]


_decoder = msgspec.json.Decoder(_Body)


class Embedder:
    """One embedding model of one provider; `model` names both, as `provider/model`."""

    def __init__(self, egress: Egress, endpoint: Endpoint, model: str) -> None:
        self.model = model
        self._egress = egress
        self._endpoint = endpoint

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in their order. Retryable where the provider may answer later, else Terminal."""
        found: list[list[float]] = []
        for at in range(0, len(texts), _BATCH):
            found += await self._embed([text[:_MAX_CHARACTERS] for text in texts[at : at + _BATCH]])
        return found

    async def _embed(self, texts: list[str]) -> list[list[float]]:
        answer = await self._egress.fetch(self._request(texts))
        if answer.status != 200:
            raise _failure(self.model, answer.status)
        try:
            items = _decoder.decode(answer.body).data
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            items = []
        vectors = {item.index: item.embedding for item in items}
        if set(vectors) != set(range(len(texts))) or not all(vectors.values()):
            raise Retryable("node_failed", f"the embedding model {self.model} left out a vector")
        return [vectors[index] for index in range(len(texts))]

    def _request(self, texts: list[str]) -> Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._endpoint.api_key:
            headers["Authorization"] = f"Bearer {self._endpoint.api_key}"
        return Request(
            method="POST",
            url=self._endpoint.base_url.rstrip("/") + "/embeddings",
            headers=headers,
            body=msgspec.json.encode({"model": self.model.partition("/")[2], "input": texts}),
            timeout_seconds=_TIMEOUT_SECONDS,
            max_body_bytes=_MAX_ANSWER_BYTES,
            follow_redirects=False,
        )


def embedder(egress: Egress, endpoints: Mapping[str, Endpoint], model: str) -> Embedder | None:
    """The embedder of the configured model, None where none is. ValueError when nobody provides it."""
    if not model:
        return None
    provider, _, name = model.partition("/")
    if provider not in endpoints or not name:
        raise ValueError("HEADGATE_EMBEDDING_MODEL must be provider/model, of a provider that is configured")
    return Embedder(egress, endpoints[provider], model)


def _failure(model: str, status: int) -> Failure:
    message = f"the embedding model {model} answered {status}"
    passing = status >= 500 or status in _PASSING
    return Retryable("node_failed", message) if passing else Terminal("node_failed", message)
