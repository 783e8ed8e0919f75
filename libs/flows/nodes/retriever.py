"""`retriever`: finds the passages of a collection that fit a question."""

from typing import Annotated, ClassVar

from msgspec import Meta

from libs.flows.effects import Passage, SearchCall, Steps
from libs.flows.nodes.node import Config, LongText, Node
from libs.flows.scope import Scope
from libs.flows.sources import Sources
from libs.flows.templates import Renderer


class RetrieverConfig(Config, frozen=True, kw_only=True):
    """Where is searched, for what, and how much is given back."""

    collection: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$", description="a collection's name")]
    query: Annotated[LongText, Meta(min_length=1, description="the question; templated")]
    k: Annotated[int, Meta(ge=1, le=50, description="documents at most")] = 4


class Retriever(Node[Renderer], frozen=True, kw_only=True, tag="retriever"):
    """Searches a collection by words, or by meaning where an embedding model is configured."""

    title: ClassVar[str] = "Retriever"
    output: ClassVar[str] = '{"documents": [{"text": string, "score": number, "metadata": object}]}, best first'
    effects: ClassVar[bool] = True
    guarded: ClassVar[frozenset[str]] = frozenset({"collection"})

    config: RetrieverConfig

    def compile(self, sources: Sources) -> Renderer:
        return sources.text("/query", self.config.query)

    def steps(self, scope: Scope) -> Steps:
        passages: list[Passage] = yield SearchCall(
            collection=self.config.collection, query=self.program.render(scope), k=self.config.k
        )
        return {"documents": passages}
