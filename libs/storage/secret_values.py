"""Secrets as runs and hooks read them: by name, kept for five seconds, so that a change is soon in force."""

from collections import OrderedDict
from time import monotonic

from libs.runtime.ids import is_token
from libs.storage.secrets import SecretStore

_KEPT_SECONDS = 5.0
_KEPT = 512

Wanted = tuple[str, frozenset[str]]
"""Workspace and names."""


class Secrets:
    """The values of secrets, for what names them."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._kept: OrderedDict[Wanted, tuple[float, dict[str, str]]] = OrderedDict()

    async def read(self, workspace: str, names: frozenset[str]) -> dict[str, str]:
        """The values of those of `names` that are set.

        Raises Away, and Terminal where a secret cannot be decrypted. Where one is missing nothing is kept: it may be
        set at once.
        """
        possible = frozenset(filter(is_token, names))
        if not possible:
            return {}
        wanted = (workspace, possible)
        until, values = self._kept.get(wanted, (0.0, {}))
        if until > monotonic():
            return values
        values = await self._store.read(workspace, possible)
        if len(values) == len(possible):
            self._kept[wanted] = (monotonic() + _KEPT_SECONDS, values)
            self._kept.move_to_end(wanted)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return values
