"""Who may be reached: the public internet, and what an operator opened besides.

A policy is a value. It is read from `HEADGATE_EGRESS_ALLOW` once, by a composition root.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self

import msgspec

from libs.egress.addresses import IPAddress, IPNetwork, why_not_public
from libs.runtime.failures import Terminal

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_HOST_CHARACTERS = 253


class EgressRefused(Terminal):
    """The target of a request is one that Headgate does not call."""

    def __init__(self, message: str) -> None:
        super().__init__("egress_refused", message)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What may be reached besides public addresses.

    `networks` are opened by address, for literal addresses and for every name that resolves into them.
    `hosts` are opened by name, lower-case and without a trailing dot, wherever they resolve to.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a comma-separated list of CIDRs, addresses and hosts; ValueError names a bad entry."""
        policy = cls()
        for entry in filter(None, (part.strip() for part in text.split(","))):
            policy = policy.trusting(entry)
        return policy

    def trusting(self, entry: str) -> Self:
        """This policy with one more host, address or CIDR opened; raises ValueError naming a bad `entry`."""
        network, host = _read_entry(entry)
        if network is not None:
            return msgspec.structs.replace(self, networks=(*self.networks, network))
        return msgspec.structs.replace(self, hosts=self.hosts | {host})

    def trusts(self, host: str) -> bool:
        """Whether `host` was opened by name: its addresses are not judged."""
        return canonical_host(host) in self.hosts

    def refusal(self, address: IPAddress) -> str | None:
        """Why `address` may not be reached ("a private address"), None if it may."""
        reason = why_not_public(address)
        if reason is None or any(address in network for network in self.networks):
            return None
        return reason

    def permits(self, address: IPAddress) -> bool:
        """Whether a connection to `address` may be opened."""
        return self.refusal(address) is None


def canonical_host(host: str) -> str:
    """The form in which host names are compared: lower-case, without the dot of the DNS root."""
    return host.lower().removesuffix(".")


def is_host_name(host: str) -> bool:
    """Whether a canonical `host` is a name that only DNS can resolve.

    A name whose last label is a number is none: resolvers read `127.1`, `0x7f.1` and `2130706433` as
    addresses (the URL Standard's "ends in a number" rule).
    """
    return (
        len(host) <= _MAX_HOST_CHARACTERS
        and _HOST_NAME.fullmatch(host) is not None
        and _NUMBER.fullmatch(host.rpartition(".")[2]) is None
    )


def _read_entry(entry: str) -> tuple[IPNetwork | None, str]:
    host = canonical_host(entry)
    if is_host_name(host):
        return None, host
    try:
        network = ip_network(entry)
    except ValueError:
        raise ValueError(f"not a CIDR, an address or a host name: {entry!r}") from None
    if "%" in entry:
        raise ValueError(f"an address with a zone names no network: {entry!r}")
    return network, ""
