"""Keys that are too new for this process: asked for at the log itself before they are refused.

A key is told to its owner once it is stored and the process that made it has taken it. The others hear of it at the
same time, by an announcement and by the stream, and yet a call with it may get here first: over the servers of a
cluster neither way has to be the fastest. So a key of our form that is unknown is looked up at the stream's leader, a
few at a time: who tries keys gets no more from us than that.
"""

from libs.events.broker import Unavailable
from libs.events.managed import decode_change
from libs.events.reads import last_message
from libs.events.subjects import MANAGEMENT, managed_anywhere, managed_subject, parse_managed_subject
from libs.runtime.secrets import keyed_hash
from services.auth.key_text import id_in, is_intact
from services.auth.replica import Replica

_MAX_ASKING = 8


class Newcomers:
    """Looks keys up for one process."""

    def __init__(self, replica: Replica, pepper: bytes) -> None:
        self._replica = replica
        self._pepper = pepper
        self._asking = 0

    def may_be_one(self, key: str) -> bool:
        """Whether to ask for this key: it is of our form, nobody here knows it, and few are being asked for."""
        if self._asking >= _MAX_ASKING or not is_intact(key):
            return False
        return not self._replica.directory.knows(keyed_hash(self._pepper, key))

    async def ask(self, key: str) -> None:
        """Take the key and its workspace, if there are such. Where the log cannot be asked nothing is new."""
        self._asking += 1
        try:
            workspace = await self._take(managed_anywhere("key", id_in(key)))
            if workspace is not None and self._replica.directory.workspace(workspace) is None:
                await self._take(managed_subject(workspace, "workspace", workspace))
        except Unavailable:
            return
        finally:
            self._asking -= 1

    async def _take(self, subject: str) -> str | None:
        """Take the last state on a subject; the workspace it is in, if there is one."""
        message = await last_message(self._replica.broker, MANAGEMENT, subject)
        if message is None:
            return None
        await self._replica.take(message.subject, message.sequence, decode_change(message.payload))
        return parse_managed_subject(message.subject)[0]
