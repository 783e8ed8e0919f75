"""Searches collections for `retriever` nodes."""

from libs.flows import Passage, SearchCall
from libs.runtime.failures import Retryable, Terminal
from libs.storage import Away
from libs.storage.collections import Collections, UnknownCollection


class Search:
    """The collections, as a node may ask them."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    async def answer(self, workspace: str, call: SearchCall) -> list[Passage]:
        """The passages, best first. Terminal for an unknown collection, Retryable while none can be reached."""
        try:
            found = await self._collections.search(workspace, call.collection, call.query, call.k)
        except UnknownCollection:
            raise Terminal("node_failed", f"there is no collection {call.collection!r}") from None
        except Away as away:
            raise Retryable("node_failed", f"the collection cannot be searched: {away.message}") from None
        return [{"text": each.text, "score": each.score, "metadata": each.metadata} for each in found]
