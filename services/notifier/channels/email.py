"""Email: a run's end, a test or an alert by SMTP, in text and HTML.

One mail may be for several. Where the server refuses some of them for good, the others get it, and the delivery ends
with the server's words about those. Where it puts some off, nobody gets it yet, so that a retry brings it to nobody
twice; but after a few attempts one full mailbox holds up the others no longer: who is still put off is left out and
named. What the server has against us (a login, a greeting) is for the operator to mend, and no mail ends by it.
"""

import base64
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiosmtplib import (
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from libs.events.deliveries import MAX_ANSWER_BYTES, Delivery, ToEmail
from libs.runtime.mail_addresses import Sender, parse_addresses
from libs.runtime.settings import Settings
from services.notifier.channels import Outcome, Story
from services.notifier.letters import Layout, letter_of, printable
from services.notifier.mail_connections import Envelope, Handed, LoginRefused, MailConnections, Patience
from services.notifier.mime import mail_of, one_line

_ATTEMPTS_TOGETHER = 4
"""By then half an hour has passed by the usual schedule, and a server that puts off strangers at first has yielded."""

_OURS_TO_MEND = frozenset({530, 534, 535, 538})
"""Replies to any command that ask for a login or for TLS first (RFC 4954)."""

_ACCEPTED = 250


class EmailChannel:
    """The channel. Without connections there is no mail server, and every delivery ends by saying so."""

    def __init__(
        self, connections: MailConnections | None, *, sender: Sender, public_url: str, secrets: Sequence[str] = ()
    ) -> None:
        self._connections = connections
        self._sender = sender
        self._public_url = public_url
        self._secrets = secrets
        self._layout = Layout()

    def lane(self, delivery: Delivery) -> str:
        """A workspace's mails: one that writes to addresses that do not exist slows down itself."""
        return delivery.workspace

    def compose(self, delivery: Delivery, story: Story | None) -> bytes:
        """The mail, the same bytes every time."""
        letter = letter_of(delivery, story, self._public_url)
        target = _target(delivery)
        return mail_of(
            delivery,
            sender=self._sender,
            recipients=_recipients(target)[0],
            subject=one_line(target.subject) or letter.headline,
            plain=self._layout.plain(letter),
            html=self._layout.html(letter),
        )

    async def send(self, delivery: Delivery, body: bytes) -> Outcome:
        """Hand the mail to the mail server."""
        recipients, error = _recipients(_target(delivery))
        if self._connections is None:
            error = "no mail server is set: HEADGATE_SMTP_URL"
        if self._connections is None or error is not None:
            return Outcome(delivered=False, error=error, final=True)
        together = delivery.attempts + 1 < _ATTEMPTS_TOGETHER
        envelope = Envelope(sender=self._sender.address, recipients=recipients, together=together)
        try:
            handed = await self._connections.hand_over(envelope, body)
        except LoginRefused as refused:
            words = self._words(refused.answer)
            error = "the mail server refused the login of HEADGATE_SMTP_URL"
            return Outcome(delivered=False, status=refused.status, answer=words, error=error)
        except (SMTPException, OSError) as failure:
            return self._failed(failure)
        return self._outcome(handed, recipients)

    def _outcome(self, handed: Handed, recipients: Sequence[str]) -> Outcome:
        if not handed.refused:
            return Outcome(delivered=True, status=_ACCEPTED, answer=self._words(handed.answer or ""))
        first = max(handed.refused, key=lambda refused: refused.code)
        error = "; ".join(f"{refused.recipient} was refused with {refused.code}" for refused in handed.refused)
        if handed.answer is not None:
            got = set(recipients) - {refused.recipient for refused in handed.refused}
            error += f"; sent to {', '.join(recipient for recipient in recipients if recipient in got)}"
        return Outcome(
            delivered=False,
            status=first.code,
            answer=self._words(_what_was_said(handed.refused)),
            error=error,
            final=handed.answer is not None or all(refused.code >= 500 for refused in handed.refused),
        )

    def _failed(self, failure: SMTPException | OSError) -> Outcome:
        match failure:
            case SMTPResponseException() if 400 <= failure.code < 600:
                about_mail = isinstance(failure, SMTPSenderRefused | SMTPRecipientRefused | SMTPDataError)
                final = about_mail and failure.code >= 500 and failure.code not in _OURS_TO_MEND
                error = "the mail server refused the mail" if about_mail else "the mail server refused us"
                words = self._words(failure.message)
                return Outcome(delivered=False, status=failure.code, answer=words, error=error, final=final)
            case TimeoutError():
                error = "the mail server did not answer in time"
            case ssl.SSLCertVerificationError() | SMTPConnectError(__cause__=ssl.SSLCertVerificationError()):
                error = "the certificate of the mail server was not accepted"
            case ssl.SSLError() | SMTPConnectError(__cause__=ssl.SSLError()):
                error = "the mail server did not complete the TLS handshake"
            case SMTPConnectError():
                error = "the mail server could not be connected to"
            case OSError():
                error = "the connection to the mail server was lost"
            case _:
                error = self._words(f"the mail server could not be used: {failure.message}")
        return Outcome(delivered=False, error=error)

    def _words(self, text: str) -> str:
        """What a server said, as it may be stored: no secret of ours that it repeats, and not too long."""
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return printable(text).encode("utf-8", "replace")[:MAX_ANSWER_BYTES].decode("utf-8", "ignore")


@asynccontextmanager
async def open_email(settings: Settings, patience: Patience | None = None) -> AsyncIterator[EmailChannel]:
    """The channel as the settings want it, until the context is left."""
    server, sender, public_url = settings.mail_server, settings.mail_sender, settings.public_url
    if server is None:
        yield EmailChannel(None, sender=sender, public_url=public_url)
        return
    trust = settings.mail_trust
    if not server.judged and not settings.smtp_ca:
        # Whoever may take the offer of TLS out of a conversation can do without a certificate: asking for one here
        # would only keep mail from servers of the house, whose certificates nobody signed.
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
    patience = patience or Patience(attempt=settings.delivery_timeout_seconds)
    async with MailConnections(server, trust, patience) as connections:
        secrets = _forms(server.user, server.password)
        yield EmailChannel(connections, sender=sender, public_url=public_url, secrets=secrets)


def _target(delivery: Delivery) -> ToEmail:
    if not isinstance(delivery.target, ToEmail):
        raise TypeError(f"{delivery.channel} is another channel's")
    return delivery.target


def _recipients(target: ToEmail) -> tuple[list[str], str | None]:
    """The addresses, or why there are none."""
    try:
        return parse_addresses(target.to), None
    except ValueError as error:
        return [], f"email: {error}"


def _what_was_said(refused: Sequence[SMTPRecipientRefused]) -> str:
    words = [f"{each.code} {each.message}" for each in refused]
    return words[0].partition(" ")[2] if len(words) == 1 else "\n".join(words)


def _forms(user: str, password: str) -> list[str]:
    """The shapes in which a login goes over the wire: a server that did not understand one may repeat it."""
    if not password:
        return []
    pairs = [f"\0{user}\0{password}".encode(), password.encode()]
    return [password, *(base64.b64encode(pair).decode() for pair in pairs)]
