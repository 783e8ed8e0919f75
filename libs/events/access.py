"""How a process proves to the broker who it is, and how it knows the broker: nothing of it on a laptop.

In a cluster each service is a user of NATS with its own nkey (the server keeps only public keys, and each connection
signs a nonce) and its own permissions, and inboxes below a token of its own, so that no service can hear another's
answers.
"""

import ssl

import msgspec

from libs.events.nkeys import UserKey, read_seed
from libs.runtime.settings import Settings


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Empty fields: the server asks for nothing, and is not asked."""

    inboxes: str = "_INBOX"
    """The subject that all inboxes of this user lie below."""
    nkey: str = ""
    """A user's nkey seed."""
    authorities: str = ""
    """PEM of who may have signed the server's certificate; with it the connection is encrypted, or there is none."""

    def key(self) -> UserKey | None:
        """The user's key. ValueError where the seed is none of a user's."""
        if not self.nkey:
            return None
        try:
            return read_seed(self.nkey)
        except ValueError as error:
            raise ValueError("HEADGATE_NATS_NKEY must be the nkey seed of a user, `SU…`") from error

    def tls(self) -> ssl.SSLContext | None:
        """The context for connections that are encrypted. ValueError where the authorities are no certificates."""
        if not self.authorities:
            return None
        try:
            return ssl.create_default_context(cadata=self.authorities)
        except ssl.SSLError as error:
            raise ValueError("HEADGATE_NATS_CA must hold certificates in PEM") from error


ANYBODY = Access()


def access_of(settings: Settings) -> Access:
    """The access of a service's process, as it is configured."""
    return Access(inboxes=f"_INBOX.{settings.service}", nkey=settings.nats_nkey, authorities=settings.nats_ca)
