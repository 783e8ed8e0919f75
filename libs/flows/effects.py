"""What a node may ask of the outside. A node yields these and is sent the answers; the executor does the rest.

Nothing here performs anything, so a node with effects is tested by hand: `next(steps)`, `steps.send(answer)`.
"""

from collections.abc import Callable, Generator
from typing import Any, Literal, TypeAlias, TypedDict

import msgspec


class HttpCall(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request; answered by `HttpAnswer`. A body over `max_body_bytes` is the executor's `Terminal`."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    timeout_seconds: float | None
    max_body_bytes: int
    follow_redirects: bool


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, whatever its status; `url` is where the last redirect led."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str


class Message(TypedDict):
    """One message of a conversation with a model."""

    role: Literal["system", "user", "assistant"]
    content: str


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """One completion by `model` ("provider/name"); answered by `ModelAnswer`.

    With `stream` the executor publishes deltas while the answer grows.
    """

    model: str
    messages: list[Message]
    temperature: float | None
    max_tokens: int | None
    stream: bool


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer of a model, with what it used (tokens) and cost (US dollars)."""

    text: str
    reasoning: str | None
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float


class SearchCall(msgspec.Struct, frozen=True, kw_only=True):
    """One search for the `k` documents of a collection that fit `query` best; answered by a list of `Passage`."""

    collection: str
    query: str
    k: int


class Passage(TypedDict):
    """A document that was found, best first; scores lie in [0, 1]."""

    text: str
    score: float
    metadata: dict[str, Any]


class Compute(msgspec.Struct, frozen=True, kw_only=True):
    """A pure function too slow for the event loop: the executor calls `function(*args)` in a worker thread.

    Answered by its result; what it raises is thrown into the node.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]


Effect: TypeAlias = HttpCall | ModelCall | SearchCall | Compute
Steps: TypeAlias = Generator[Effect, Any, Any]
