"""A letter as a mail: headers that nobody can add to, and the same bytes whenever it is made. Pure.

Whatever differs from one making to the next is derived from the delivery: Message-ID, Date and the boundary between the
two forms. So a retry, also days later and from another process, is the same mail, and who got it twice can tell.
"""

import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from libs.events.deliveries import Delivery
from libs.runtime.mail_addresses import Sender
from services.notifier.letters import printable

MAX_SUBJECT_CHARACTERS = 250

_ENCODED_WORD = re.compile(r"=(?=\?)")


def mail_of(delivery: Delivery, *, sender: Sender, recipients: list[str], subject: str, plain: str, html: str) -> bytes:
    """The mail in 7 bits, lines ended by CRLF. Addresses are checked ones, the subject is one line."""
    message: Any = EmailMessage(policy=SMTP)
    message["From"] = Address(display_name=sender.name, addr_spec=sender.address)
    message["To"] = [Address(addr_spec=recipient) for recipient in recipients]
    message["Subject"] = subject
    message["Date"] = delivery.created_at
    message["Message-ID"] = f"<{delivery.id}@{sender.address.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    if delivery.run_id:
        message["Headgate-Run-Id"] = delivery.run_id
    message.set_content(plain, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{delivery.id}")  # neither form can hold it: both write `=` as `=3D`
    return bytes(message)


def one_line(text: str) -> str:
    """A subject as a header can hold it: on one line, as long as it may be, and with nothing that reads as encoded."""
    line = " ".join(printable(text).split())
    return _ENCODED_WORD.sub("= ", line)[:MAX_SUBJECT_CHARACTERS].rstrip()
