"""The pool of connections to addresses that were judged.

A connection stays in the pool under its host, port and scheme; since each was opened by the guard, reuse
needs no second look.
"""

import asyncio
import ssl
from typing import TYPE_CHECKING

import aiohttp

from libs.egress.resolver import GuardedResolver

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# Below the five seconds after which common servers drop an idle connection: a POST must not meet one that
# is going.
_KEEPALIVE_SECONDS = 4.0
_DNS_CACHE_SECONDS = 5


class AbortingConnector(aiohttp.TCPConnector):
    """A connector whose connections end at once when they are not kept.

    The library closes politely: unsent bytes of a request are flushed first, a TLS peer is given half a
    minute to say goodbye. A peer that does not read could hold a cancelled request's socket open for as
    long as it likes.
    """

    async def connect(
        self, req: aiohttp.ClientRequest, traces: "list[Trace]", timeout: aiohttp.ClientTimeout
    ) -> "Connection":
        connection = await super().connect(req, traces, timeout)
        transport = connection.transport
        if transport is not None:
            loop = asyncio.get_running_loop()

            def look_again_soon() -> None:
                loop.call_soon(_abort_if_closing, transport)

            # Called just before the connection is closed or goes back to the pool; which of the two shows after.
            connection.add_callback(look_again_soon)
        return connection


def guarded_connector(
    resolver: GuardedResolver, *, connections: int, connections_per_host: int, tls: ssl.SSLContext | None
) -> AbortingConnector:
    """A pool that resolves and opens sockets through `resolver` only; must be made inside the event loop."""
    return AbortingConnector(
        resolver=resolver,
        socket_factory=resolver.open_socket,
        limit=connections,
        limit_per_host=connections_per_host,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        # Holds what the resolver returned, so only addresses that were judged.
        ttl_dns_cache=_DNS_CACHE_SECONDS,
        ssl=True if tls is None else tls,
    )


def _abort_if_closing(transport: asyncio.Transport) -> None:
    if transport.is_closing():
        transport.abort()
