"""What a mail holds: headers that nobody can add to, both forms of the text, and the same bytes every time."""

import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from libs.events.deliveries import Delivery
from libs.events.run_events import Fault
from libs.runtime.mail_addresses import Sender
from services.notifier.channels import Story
from services.notifier.channels.email import EmailChannel
from services.notifier.letters import MAX_TEXT_CHARACTERS
from services.notifier.mime import MAX_SUBJECT_CHARACTERS, one_line
from tests.notifier.mails import delivery, story

HEADERS = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "Headgate-Run-Id",
    "MIME-Version",
    "Content-Type",
]
HOSTILE = [
    f"Hello{end}Bcc: eve@example.test"
    for end in (
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "\0",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x85",
        "\u2028",
        "\u2029",
        "\r\n ",
        "\n\t",
    )
] + [
    "=?utf-8?q?Hello=0D=0ABcc:_eve@example.test?=",
    "=?utf-8?b?SGVsbG8NCkJjYzogZXZlQGV4YW1wbGUudGVzdA==?=",
    "==??utf-8?q?Hello=0D=0ABcc:_eve@example.test?=",
    "=?utf-8?q?" + "=0D=0ABcc:_eve@example.test" * 20 + "?=",
    "Hello\ud800\r\nBcc: eve@example.test",
    "long " * 500 + "\r\nBcc: eve@example.test",
    "ü" * 3000,
    "x" * 3000,
    "\U0001f600 " * 200,
    "\u202egnp.exe \x1b[31m",
    " \t ",
    "",
]

EMAIL = EmailChannel(
    None, sender=Sender(address="no-reply@sender.test", name="Headgate"), public_url="https://flows.test/"
)


def parsed(of: Delivery, told: Story | None) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(EMAIL.compose(of, told), policy=default))


def parts(message: EmailMessage) -> tuple[str, str]:
    plain, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert isinstance(plain, EmailMessage)
    assert isinstance(html, EmailMessage)
    return plain.get_content(), html.get_content()


def assert_only_ours(mail: bytes) -> None:
    """By its raw lines: a reader that folds differently than Python's parser finds no other header either."""
    head, _, body = mail.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert names == HEADERS
    assert not re.search(rb"[^\x20-\x7e\t\r\n]", mail)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", mail)
    assert max(len(line) for line in mail.split(b"\r\n")) <= 998
    assert body


@pytest.mark.parametrize("subject", HOSTILE)
def test_a_subject_stays_one_header(subject: str) -> None:
    mail = EMAIL.compose(delivery(subject=subject), story())
    assert_only_ours(mail)
    message = message_from_bytes(mail, policy=default)
    assert message["Subject"] == (one_line(subject) or "The run is completed")
    assert "\n" not in str(message["Subject"])
    assert len(str(message["Subject"])) <= MAX_SUBJECT_CHARACTERS
    assert message["Bcc"] is None


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300))
def test_any_subject_is_read_as_it_was_written(subject: str) -> None:
    mail = EMAIL.compose(delivery(subject=subject), story())
    assert_only_ours(mail)
    shown = str(message_from_bytes(mail, policy=default)["Subject"])
    assert shown == (one_line(subject) or "The run is completed")


@pytest.mark.parametrize("to", [*HOSTILE, "Eve <eve@example.test>", '"a\r\nBcc: b"@example.test', "a@b.c, d@e.f\n"])
def test_a_target_that_is_no_address_gets_into_no_header(to: str) -> None:
    message = parsed(delivery(to), story())
    assert not message["To"]
    assert message["Bcc"] is None


def test_what_a_mail_says_of_a_run() -> None:
    message = parsed(delivery(), story({"city": "Zürich"}))
    plain, html = parts(message)
    for form in (plain, LexborHTMLParser(html).text()):
        for said in ("The run is completed", "run_1", "flow_1, version 3", "dep_1", "0.250 s", '"city": "Zürich"'):
            assert said in form
        assert "2026-03-04 05:06:07 UTC" in form
        assert "https://flows.test/v1/runs/run_1" in form
    assert "4111-secret" not in plain + html, "what went into a run is not mailed"
    assert message["Headgate-Run-Id"] == "run_1"
    assert message["Message-ID"] == "<dlv_1@sender.test>"
    assert message["Date"].datetime == delivery().created_at
    assert message["Auto-Submitted"] == "auto-generated"


def test_a_failure_is_told_with_its_reason() -> None:
    fault = Fault(code="node_failed", message="the server\r\nsaid <no>", node="call")
    plain, html = parts(parsed(delivery(), story(None, fault)))
    assert "The run failed" in plain
    assert "node_failed" in plain
    assert "the server said <no>" in plain
    assert "call" in plain
    assert "<no>" not in html
    assert "the server said <no>" in LexborHTMLParser(html).text()


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "</pre></body><img src=x onerror=alert(1)>",
        '"><a href="javascript:alert(1)">x</a>',
        "<style>*{display:none}</style>",
        "{{ letter.headline }}{% raw %}",
        "&lt;b&gt;",
        "<!-- -->\x00\x1b<b>",
    ],
)
def test_what_a_run_puts_out_is_shown_and_never_markup(hostile: str) -> None:
    shown = re.sub(r"[\x00\x1b]", "", hostile)
    fault = Fault(code="node_failed", message=hostile, node=hostile)
    for told in (story(hostile), story(None, fault)):
        plain, html = parts(parsed(delivery(), told))
        page = LexborHTMLParser(html)
        assert shown in plain
        assert page.body is not None
        assert shown in page.body.text()
        elements = {node.tag for node in page.css("body *")}
        assert elements == {"h1", "table", "tbody", "tr", "th", "td", "p", "a"} | (
            {"pre"} if told.run.output else set()
        )
        assert [node.attributes["href"] for node in page.css("a")] == ["https://flows.test/v1/runs/run_1"]


@pytest.mark.parametrize("output", ["x" * 1_000_000, ["ä" * 1_000] * 1_000, "\r\n.\r\n" * 100_000])
def test_a_long_output_is_cut_and_the_mail_says_so(output: Any) -> None:
    mail = EMAIL.compose(delivery(), story(output))
    plain, html = parts(cast(EmailMessage, message_from_bytes(mail, policy=default)))
    assert len(mail) < 16 * MAX_TEXT_CHARACTERS
    for form in (plain, html):
        assert re.search(r"This is the beginning: 32,000 of [\d,]+ characters. The run has all of it.", form)
    assert_only_ours(mail)


@pytest.mark.parametrize(
    "output", ["", None, 0, False, [], {}, "\r\n.\r\nQUIT\r\n", "--=_dlv_1--\r\n", "\ud83d", "a\0b"]
)
def test_any_output_can_be_mailed(output: Any) -> None:
    mail = EMAIL.compose(delivery(), story(output))
    assert_only_ours(mail)
    message = cast(EmailMessage, message_from_bytes(mail, policy=default))
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


@pytest.mark.parametrize(("output", "shown"), [(0, "0"), (False, "false"), ([], "[]"), ({"a": None}, '"a": null')])
def test_an_output_that_says_little_is_shown_too(output: Any, shown: str) -> None:
    assert f"{shown}\r\n" in parts(parsed(delivery(), story(output)))[0]


def test_without_a_public_address_there_is_no_link() -> None:
    bare = EmailChannel(None, sender=Sender(address="no-reply@sender.test"), public_url="")
    message = cast(EmailMessage, message_from_bytes(bare.compose(delivery(), story()), policy=default))
    assert message["From"] == "no-reply@sender.test"
    assert "href" not in parts(message)[1]


def test_a_mail_is_the_same_bytes_whoever_makes_it() -> None:
    another = EmailChannel(
        None, sender=Sender(address="no-reply@sender.test", name="Headgate"), public_url="https://flows.test/"
    )
    assert EMAIL.compose(delivery(), story()) == another.compose(delivery(attempts=7), story())


def test_a_test_says_that_it_is_one() -> None:
    message = parsed(delivery(event="test"), None)
    plain, html = parts(message)
    assert "This is a test" in plain
    assert "This is a test" in html
    assert message["Headgate-Run-Id"] is None


def test_mails_of_one_workspace_share_a_fate() -> None:
    assert EMAIL.lane(delivery()) == EMAIL.lane(delivery("grace@example.test")) == "ws_1"
