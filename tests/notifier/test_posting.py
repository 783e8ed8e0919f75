"""One POST: how it is signed, and what its answer means."""

from datetime import UTC, datetime

import pytest

from libs.egress import Answer
from services.notifier.channels.posting import outcome_of, signatures

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)


def test_a_signature_is_that_of_the_specification_s_example() -> None:
    """The vector that the reference libraries of Standard Webhooks are tested with."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = signatures([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_secret_signs_once() -> None:
    first, second = "whsec_" + "A" * 32, "whsec_" + "B" * 32
    both = signatures([first, second], "dlv_1", 1, b"{}").split(" ")
    assert both == [signatures([first], "dlv_1", 1, b"{}"), signatures([second], "dlv_1", 1, b"{}")]


def answered(status: int, body: bytes = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=body, url="https://example.org/")


@pytest.mark.parametrize(
    ("status", "delivered", "gone"),
    [
        (200, True, False),
        (204, True, False),
        (301, False, False),
        (400, False, False),
        (410, False, True),
        (500, False, False),
    ],
)
def test_only_2xx_is_a_success_and_410_is_the_end(status: int, delivered: bool, gone: bool) -> None:
    outcome = outcome_of(answered(status), NOW)
    assert (outcome.delivered, outcome.gone, outcome.status) == (delivered, gone, status)
    assert (outcome.error is None) is delivered


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 26 Nov 2026 12:01:00 GMT", 60.0),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1e3", None),
        ("²", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert outcome_of(answered(503, retry_after=header), NOW).retry_after_seconds == seconds


def test_of_an_answer_the_first_kilobyte_is_kept_and_fits_a_table() -> None:
    kept = outcome_of(answered(500, b"a\x00" + b"\xff" + b"b" * 5000), NOW).answer
    assert kept.startswith("a�" + "�b")
    assert len(kept) == 1024
