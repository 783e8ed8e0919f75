"""The client: one per process, made in the composition root, shared by everything that calls out.

It knows nothing of nodes, models or webhooks. Cookies are not kept, the environment's proxies not used, and
every request is bounded in time, in headers and in body.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import aiohttp
from yarl import URL

from libs.egress.body import BodyReader
from libs.egress.connector import guarded_connector
from libs.egress.decoding import decoder_for
from libs.egress.faults import failure_of, headers_too_large
from libs.egress.headers import header_bytes, outgoing_headers, received_headers
from libs.egress.messages import Answer, Request, Streamed
from libs.egress.policy import Policy
from libs.egress.redirects import Hop, is_redirect, next_hop
from libs.egress.resolver import GuardedResolver
from libs.egress.urls import check_url
from libs.runtime.failures import Terminal

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_MAX_HEADER_LINES = 128
_MAX_HEADER_LINE_BYTES = 16_384
_USER_AGENT = "Headgate"

_MAX_JUDGED = 4_096
_MAX_JUDGED_CHARACTERS = 1_024


class Egress:
    """Sends HTTP requests to where `policy` allows; must be made inside the event loop and closed.

    `tls` replaces the system's trust in certificates, for an operator with an authority of their own.
    Failures of both methods: `EgressRefused`; `Terminal` `invalid_input` (the request cannot be sent as it
    is) and `node_failed` (an answer past its bounds, too many redirects); `Retryable` `node_failed` (no
    connection, no valid HTTP) and `node_timeout`. Any status that is answered is an answer, not a failure.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        connect_timeout_seconds: float = 5.0,
        max_header_bytes: int = 65_536,
        max_redirects: int = 5,
        connections: int = 512,
        connections_per_host: int = 128,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.policy = policy
        self._judged: dict[str, URL] = {}
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_timeout_seconds)
        self._max_header_bytes = max_header_bytes
        self._max_redirects = max_redirects
        self._resolver = GuardedResolver(policy, timeout_seconds=connect_timeout_seconds)
        line_bytes = min(max_header_bytes, _MAX_HEADER_LINE_BYTES)
        self._session = aiohttp.ClientSession(
            connector=guarded_connector(
                self._resolver, connections=connections, connections_per_host=connections_per_host, tls=tls
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={"User-Agent": _USER_AGENT},
            skip_auto_headers=("Content-Type",),
            max_line_size=line_bytes,
            max_field_size=line_bytes,
            max_headers=_MAX_HEADER_LINES,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection; requests in flight fail."""
        await self._session.close()
        await self._resolver.close()

    async def fetch(self, request: Request) -> Answer:
        """Sends `request` and reads the whole answer. Cancelling closes the connection at once."""
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        hop, response = await self._follow(request, deadline)
        try:
            headers, chunks = self._opened(request, hop, response, deadline)
            body = await chunks.whole()
        finally:
            response.close()
        return Answer(status=response.status, headers=headers, body=body, url=str(hop.url))

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Streamed]:
        """Sends `request`, follows its redirects and gives the answer once its headers are there.

        Leaving the context before the end of the body, also by cancellation, closes the connection at once.
        """
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        hop, response = await self._follow(request, deadline)
        try:
            headers, chunks = self._opened(request, hop, response, deadline)
            yield Streamed(status=response.status, headers=headers, chunks=chunks, url=str(hop.url))
        finally:
            # A no-op after the last byte: by then the connection is back in the pool.
            response.close()

    async def _follow(self, request: Request, deadline: float) -> tuple[Hop, aiohttp.ClientResponse]:
        hop = self._first_hop(request)
        for _ in range(self._max_redirects + 1):
            response = await self._send(hop, request, deadline)
            location = response.headers.get("Location")
            if not request.follow_redirects or location is None or not is_redirect(response.status):
                return hop, response
            response.close()
            hop = next_hop(hop, response.status, location, self.policy)
        raise Terminal("node_failed", f"more than {self._max_redirects} redirects, the last to {hop.url.raw_host}")

    def _first_hop(self, request: Request) -> Hop:
        method = request.method.upper()
        if method not in _METHODS:
            raise Terminal("invalid_input", f"the method must be one of {', '.join(sorted(_METHODS))}")
        headers = outgoing_headers(request.headers, self._max_header_bytes)
        url = self._judged.get(request.url) or self._judge(request.url)
        return Hop(method=method, url=url, headers=headers, body=request.body)

    def _judge(self, text: str) -> URL:
        """Judge a URL and keep the verdict: the text alone decides it, and receivers are called again and again."""
        url = check_url(text, self.policy)
        if len(text) <= _MAX_JUDGED_CHARACTERS:
            if len(self._judged) >= _MAX_JUDGED:
                del self._judged[next(iter(self._judged))]
            self._judged[text] = url
        return url

    async def _send(self, hop: Hop, request: Request, deadline: float) -> aiohttp.ClientResponse:
        host = str(hop.url.raw_host)
        timeout = self._timeout
        if request.idle_timeout_seconds is not None:
            timeout = aiohttp.ClientTimeout(sock_connect=timeout.sock_connect, sock_read=request.idle_timeout_seconds)
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._session.request(
                    hop.method,
                    hop.url,
                    headers=hop.headers,
                    data=hop.body,
                    timeout=timeout,
                    allow_redirects=False,
                )
        except (aiohttp.ClientError, OSError) as error:
            # Without its cause: the library's texts hold the whole URL, and a traceback would print them.
            raise failure_of(error, host) from None
        if header_bytes(response.raw_headers) > self._max_header_bytes:
            response.close()
            raise headers_too_large(host)
        return response

    def _opened(
        self, request: Request, hop: Hop, response: aiohttp.ClientResponse, deadline: float
    ) -> tuple[dict[str, str], BodyReader]:
        host = str(hop.url.raw_host)
        encodings = response.headers.getall("Content-Encoding", ())
        decoder = decoder_for(", ".join(encodings), host) if encodings else None
        chunks = BodyReader(response, decoder, host=host, max_body_bytes=request.max_body_bytes, deadline=deadline)
        return received_headers(response.raw_headers, decompressed=decoder is not None), chunks
