"""The guard: names resolve to addresses that may be reached, or not at all.

It sits under the HTTP client as its resolver and its socket factory, so a caller cannot leave it out. A
name is refused when any of its addresses is: a mixed answer is how a hostile zone gets past a check that
looks at one. The sockets go to the addresses that were judged; the name is not looked up a second time in
between (DNS rebinding).
"""

import asyncio
import errno
import functools
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

from libs.egress.addresses import IPAddress, parse_address
from libs.egress.policy import EgressRefused, Policy, canonical_host
from libs.egress.urls import is_localhost, permitted_loopback

SocketAddress = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]

_LOOKUP_THREADS = 32
_MAX_ADDRESSES = 8  # tried one after the other; a longer answer would only stretch a failing connect
_MAX_GRANTS = 1_024


class GuardedResolver(AbstractResolver):
    """Resolves names under a policy and opens sockets under the same one.

    Lookups have threads of their own: a name server that hangs on purpose must not hold up the threads that
    the rest of the process shares.
    """

    def __init__(self, policy: Policy, *, timeout_seconds: float) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="egress-lookup")
        # Addresses that only a trusted name opens, oldest first: `open_socket` sees no names.
        self._granted: dict[IPAddress, None] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`, all judged.

        Raises `EgressRefused` if one may not be reached, OSError if there is none, TimeoutError.
        """
        name = canonical_host(host)
        addresses = permitted_loopback(name, self._policy) if is_localhost(name) else await self._look_up(host)
        trusted = self._policy.trusts(name)
        for address in addresses:
            reason = self._policy.refusal(address)
            if reason is not None and not trusted:
                raise EgressRefused(f"{name} resolves to {reason}")
            if reason is not None:
                self._grant(address)
        if not addresses:
            raise OSError(errno.EADDRNOTAVAIL, "no address for the name")
        return [_result(host, address, port) for address in addresses[:_MAX_ADDRESSES]]

    def open_socket(self, info: SocketAddress) -> socket.socket:
        """A socket to connect to the address of `info`; raises PermissionError if that may not be reached.

        The second lock: literal addresses never pass the resolver.
        """
        family, kind, protocol, _, peer = info
        address = parse_address(peer[0])
        if not self._policy.permits(address) and address not in self._granted:
            raise PermissionError(errno.EACCES, "the address may not be reached")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Gives up lookups that have not begun; those that hang end with the system's own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, host: str) -> list[IPAddress]:
        look_up = functools.partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        async with asyncio.timeout(self._timeout_seconds):
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return list(dict.fromkeys(parse_address(str(entry[4][0])) for entry in found))

    def _grant(self, address: IPAddress) -> None:
        self._granted.pop(address, None)
        self._granted[address] = None
        if len(self._granted) > _MAX_GRANTS:
            del self._granted[next(iter(self._granted))]


def _result(host: str, address: IPAddress, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=str(address),
        port=port,
        family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
