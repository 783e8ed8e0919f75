"""Whether a URL may be called, from its text alone: no name is resolved here.

Used when a URL is stored (webhooks, callbacks) and again before every request and every redirect. What this
check returns is the very object that is sent, so that no second parser can read the text differently.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from yarl import URL

from libs.egress.addresses import IPAddress
from libs.egress.policy import EgressRefused, Policy, canonical_host, is_host_name

MAX_URL_CHARACTERS = 16_384

# Tabs and line ends are dropped by URL parsers, which lets a text change its meaning between two of them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHAPE = re.compile(r"(?i:https?)://([^/?#]*)")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+)(?::([0-9]{0,5}))?")

_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_LOCALHOST = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_METADATA = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.packet.net",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
    }
)
_PRIVATE_SUFFIXES = (".home.arpa", ".internal", ".local", ".localdomain")

# The URL Standard's sibling for requests, "Fetch", section 2.9 "Port blocking": services that would act on an
# HTTP request as if it were spoken in their own protocol, mail servers first among them.
# fmt: off
_BLOCKED_PORTS = frozenset({
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513,
    514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719,
    1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
    6697, 10080,
})
# fmt: on


def check_url(url: str, policy: Policy) -> URL:
    """The parsed URL if it may be called under `policy`; raises `EgressRefused` with the reason.

    Addresses are accepted in their canonical notation only; no message repeats more of the URL than its host.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise EgressRefused(f"the URL is longer than {MAX_URL_CHARACTERS} characters")
    if _CONTROL.search(url) or url != url.strip():
        raise EgressRefused("the URL contains control characters or surrounding whitespace")
    shape = _SHAPE.match(url)
    if shape is None:
        raise EgressRefused("only absolute http and https URLs are called")
    if "@" in shape[1]:
        raise EgressRefused("the URL contains credentials; send them in a header")
    authority = _AUTHORITY.fullmatch(shape[1])
    if authority is None:
        raise EgressRefused("the URL has no valid host and port")
    try:
        parsed = URL(url)
    except ValueError:
        raise EgressRefused("the URL is not well formed") from None
    _check_port(parsed.port)
    _check_host(parsed.raw_host or "", policy, bracketed=authority[1].startswith("["))
    return parsed


def is_localhost(host: str) -> bool:
    """Whether canonical `host` names this machine, which DNS is not asked about (RFC 6761, section 6.3)."""
    return host in _LOCALHOST or host.endswith(".localhost")


def permitted_loopback(host: str, policy: Policy) -> list[IPAddress]:
    """The addresses that the localhost name `host` stands for under `policy`."""
    return [address for address in _LOOPBACK if policy.trusts(host) or policy.permits(address)]


def _check_port(port: int | None) -> None:
    if not port or port in _BLOCKED_PORTS:
        raise EgressRefused(f"port {port} is not called")


def _check_host(host: str, policy: Policy, *, bracketed: bool) -> None:
    """Judges the host as it was parsed, which is what will be called."""
    name = canonical_host(host)
    if not bracketed and is_host_name(name):
        _check_name(name, policy)
    else:
        _check_literal(host, policy)


def _check_literal(text: str, policy: Policy) -> None:
    try:
        address = ip_address(text)
    except ValueError:
        raise EgressRefused("the host is neither a name nor an address in canonical notation") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise EgressRefused("an address with a zone is not called")
    if reason := policy.refusal(address):
        raise EgressRefused(f"{address} is {reason}")


def _check_name(host: str, policy: Policy) -> None:
    if policy.trusts(host):
        return
    if is_localhost(host) and not permitted_loopback(host, policy):
        raise EgressRefused(f"{host} names this machine")
    if host in _METADATA:
        raise EgressRefused(f"{host} is a cloud metadata service")
    # Once a network is open these names may lead into it; then what they resolve to decides.
    if not policy.networks and ("." not in host or host.endswith(_PRIVATE_SUFFIXES)):
        raise EgressRefused(f"{host} is a name of a private network")
