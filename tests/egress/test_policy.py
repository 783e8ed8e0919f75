"""What an operator opens, and nothing besides."""

from ipaddress import ip_address

import pytest

from libs.egress import EgressRefused, Policy, check_url


def test_reads_networks_addresses_and_hosts() -> None:
    policy = Policy.parse(" 10.1.0.0/16 , ,192.168.7.7,fd00:1::/32, Ollama,API.corp.internal. ,::1")
    assert [str(network) for network in policy.networks] == [
        "10.1.0.0/16",
        "192.168.7.7/32",
        "fd00:1::/32",
        "::1/128",
    ]
    assert policy.hosts == {"ollama", "api.corp.internal"}


def test_nothing_is_opened_by_an_empty_text() -> None:
    assert Policy.parse("") == Policy.parse(" , ") == Policy()


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.1/8", "10.0.0.0/33", "127.1", "0x7f.1", "http://ollama", "ollama:11434", "*.corp", "a b", "fe80::1%eth0"],
)
def test_a_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=r"not a CIDR|zone") as raised:
        Policy.parse(f"10.0.0.0/8,{entry}")
    assert repr(entry) in str(raised.value)


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("10.1.2.3", True),
        ("10.2.0.0", False),
        ("8.8.8.8", True),
        ("::ffff:10.1.2.3", False),
        ("64:ff9b::a01:203", False),
        ("2606:4700::1111", True),
    ],
)
def test_an_open_network_opens_its_own_addresses_only(address: str, permitted: bool) -> None:
    assert Policy.parse("10.1.0.0/16").permits(ip_address(address)) is permitted


def test_a_host_is_opened_exactly() -> None:
    policy = Policy().trusting("Ollama.Internal")
    assert check_url("http://ollama.internal.:11434/v1", policy).port == 11434
    for other in ("http://x.ollama.internal/", "http://ollama.internal.x.internal/", "http://llama.internal/"):
        with pytest.raises(EgressRefused):
            check_url(other, policy)


def test_trusting_leaves_the_policy_it_came_from_as_it_was() -> None:
    policy = Policy()
    assert policy.trusting("127.0.0.1").trusting("ollama") == Policy.parse("127.0.0.1,ollama")
    assert policy == Policy()


def test_open_loopback_opens_localhost_names() -> None:
    assert check_url("http://localhost:9000/", Policy.parse("127.0.0.0/8"))
    with pytest.raises(EgressRefused):
        check_url("http://localhost:9000/", Policy.parse("10.0.0.0/8"))


def test_metadata_names_need_their_own_entry() -> None:
    with pytest.raises(EgressRefused):
        check_url("http://metadata.google.internal/", Policy.parse("169.254.0.0/16"))
    assert check_url("http://metadata.google.internal/", Policy.parse("metadata.google.internal"))


def test_short_names_are_left_to_the_resolver_once_a_network_is_open() -> None:
    assert check_url("http://ollama:11434/", Policy.parse("10.0.0.0/8"))
    with pytest.raises(EgressRefused, match="private network"):
        check_url("http://ollama:11434/", Policy())


def test_notations_stay_refused_where_their_address_is_open() -> None:
    for url in ("http://127.1/", "http://2130706433/", "http://[::ffff:127.0.0.1]/"):
        with pytest.raises(EgressRefused):
            check_url(url, Policy.parse("127.0.0.0/8"))
