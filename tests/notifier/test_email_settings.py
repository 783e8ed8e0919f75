"""Addresses and the mail server as people write them: what is understood, and what is said of the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runtime.mail_addresses import MAX_ADDRESSES, Sender, parse_addresses, parse_sender
from libs.runtime.mail_server import MailServer, parse_smtp_url
from libs.runtime.settings import read_settings

GOOD = [
    "a@b",
    "ada.lovelace+tag@example.test",
    "x" * 64 + "@example.test",
    "a@" + "b" * 63 + ".test",
    "A_1@xn--zrich-kva.ch",
]
BAD = [
    "",
    "ada",
    "@b.c",
    "a@",
    "a@b@c",
    "a b@c.d",
    ".a@b.c",
    "a.@b.c",
    "a..b@c.d",
    "a@.b",
    "a@b.",
    "a@b..c",
    "a@-b.c",
    "a@b-.c",
    "a@b_c.d",
    "a@[127.0.0.1]",
    '"a b"@c.d',
    "a(x)@b.c",
    "Ada <a@b.c>",
    "<a@b.c>",
    "a@b.c>",
    "a@b.c;d@e.f",
    "ä@b.c",
    "a@zürich.ch",
    "=?utf-8?q?a=40b.c=0d=0a?=@b.c",
    "x" * 65 + "@b.c",
    "a@" + "b" * 64 + ".c",
    "a@" + "b." * 130 + "c",
]
CONTROLS = [f"a@b.c{c}" for c in "\r\n\0\t\x0b\x0c\x1b\x7f\x85\u2028\u2029"] + [
    "a\r\n@b.c",
    "\na@b.c",
    "a@b.c\r\nBcc: d@e.f",
]


@pytest.mark.parametrize("address", GOOD)
def test_an_address_is_understood(address: str) -> None:
    assert parse_addresses(f" {address} ") == [address]


@pytest.mark.parametrize("address", BAD)
def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(ValueError, match="is not a mail address") as refused:
        parse_addresses(f"ada@example.test, {address}")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("text", CONTROLS)
def test_a_control_character_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        parse_addresses(text)


@given(st.text(max_size=200))
def test_whatever_is_understood_can_stand_in_a_header_and_a_command(text: str) -> None:
    try:
        found = parse_addresses(text)
    except ValueError:
        return
    assert all(address.isascii() and address.isprintable() for address in found)
    assert not set("".join(found)) & set(' <>,;:"()[]\\')


def test_several_addresses_come_each_once_and_in_order() -> None:
    assert parse_addresses("b@c.d,a@b.c , b@c.d") == ["b@c.d", "a@b.c"]
    many = [f"a{number}@b.c" for number in range(MAX_ADDRESSES + 1)]
    assert parse_addresses(",".join(many[:-1])) == many[:-1]
    with pytest.raises(ValueError, match="at most 20"):
        parse_addresses(",".join(many))
    with pytest.raises(ValueError, match="at most 20"):
        parse_addresses("a@b.c," * 1_000_000)


def test_a_sender_may_have_a_name() -> None:
    assert parse_sender("a@b.c") == Sender(address="a@b.c")
    assert parse_sender('"Headgate, Zürich" <a@b.c>') == Sender(name="Headgate, Zürich", address="a@b.c")


@pytest.mark.parametrize(
    "text", ["", "Headgate", "Headgate <>", "a\r\nBcc: d@e.f <a@b.c>", "<a@b.c> x", "=?utf-8?q?=0d=0a?= <a@b.c>"]
)
def test_a_sender_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_sender(text)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("smtp://mail.test", MailServer(host="mail.test", port=587, tls="if_offered")),
        ("smtp://mail.test:25/", MailServer(host="mail.test", port=25, tls="if_offered")),
        ("SMTP://Mail.Test?starttls=auto", MailServer(host="mail.test", port=587, tls="if_offered")),
        ("smtp://mail.test?starttls=true", MailServer(host="mail.test", port=587, tls="required")),
        ("smtp://mail.test?starttls=false", MailServer(host="mail.test", port=587, tls="never")),
        ("smtps://[::1]:2465", MailServer(host="::1", port=2465, tls="from_start")),
        (
            "smtp://a%40b.c:p%2F%3A%40%20@mail.test",
            MailServer(host="mail.test", port=587, tls="required", user="a@b.c", password="p/:@ "),
        ),
        (
            "smtp://a:b@127.0.0.1:25",
            MailServer(host="127.0.0.1", port=25, tls="if_offered", user="a", password="b"),
        ),
        (
            "smtp://a:b@mail.test?starttls=false",
            MailServer(host="mail.test", port=587, tls="never", user="a", password="b"),
        ),
        ("smtps://a:b@mail.test", MailServer(host="mail.test", port=465, tls="from_start", user="a", password="b")),
    ],
)
def test_an_smtp_url_is_understood(text: str, server: MailServer) -> None:
    assert parse_smtp_url(text) == server


@pytest.mark.parametrize(
    "text",
    [
        "mail.test",
        "mail.test:25",
        "http://hush:hush@mail.test",
        "smtp://",
        "smtp://:hush@",
        "smtp://hush:hu/sh@mail.test",
        "smtp://hush:hu#sh@mail.test",
        "smtp://hush:hu?sh@mail.test",
        "smtp://hush:h[ush@mail.test",
        "smtp://hush:hush@mail.test:port",
        "smtp://hush:hush@mail.test:0",
        "smtp://hush:hush@mail.test:65536",
        "smtp://hush@mail.test",
        "smtp://:hush@mail.test",
        "smtp://hush:hu%0d%0ash@mail.test",
        "smtp://hush:%ffhush@mail.test",
        "smtp://hush:hush@mail.test/path",
        "smtp://hush:hush@mail.test?starttls=maybe",
        "smtp://hush:hush@mail.test?tls=true",
        "smtp://hush:hush@mail.test?starttls=true&starttls=false",
        "smtps://hush:hush@mail.test?starttls=true",
        "smtp://hush:hush@mail..test",
        "smtp://hush:hush@ma il.test",
        "smtp://hush:hush@mail.test\r\nEHLO x",
        "smtp://hush:hush@mäil.test",
    ],
)
def test_a_bad_smtp_url_is_refused_at_the_start_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^HEADGATE_SMTP_URL: ") as refused:
        read_settings({"HEADGATE_SMTP_URL": text})
    assert "hu" not in str(refused.value).replace("HEADGATE", "")


@pytest.mark.parametrize(
    ("name", "text"),
    [("EMAIL_FROM", "Headgate"), ("ALERT_EMAIL", "ops@example.test, ops"), ("SMTP_CA", "no certificate")],
)
def test_another_bad_setting_of_mail_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^HEADGATE_{name}: "):
        read_settings({f"HEADGATE_{name}": text})


def test_who_a_mail_is_from_is_found_where_nobody_said() -> None:
    assert read_settings({}).mail_sender == Sender(name="Headgate", address="headgate@localhost")
    by_user = read_settings({"HEADGATE_SMTP_URL": "smtps://me%40mail.test:x@mail.test"})
    assert by_user.mail_sender == Sender(address="me@mail.test")
    assert read_settings({"HEADGATE_EMAIL_FROM": "a@b.c"}).mail_sender == Sender(address="a@b.c")
