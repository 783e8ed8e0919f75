"""A real SMTP server for tests, in a thread of its own, and one that follows a script word by word."""

import asyncio
import datetime
import ipaddress
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "relay@sender.test", "p@ss/w:rd?"


class Received:
    """One mail that was accepted."""

    def __init__(self, server: SMTP, session: Session, envelope: Envelope) -> None:
        self.sender = envelope.mail_from
        self.recipients = list(envelope.rcpt_tos)
        self.content = cast(bytes, envelope.original_content)
        self.encrypted = server.transport is not None and server.transport.get_extra_info("sslcontext") is not None
        self.login = session.auth_data

    @property
    def message(self) -> EmailMessage:
        return cast(EmailMessage, message_from_bytes(self.content, policy=default))


class Inbox:
    """What arrived, and what is to be refused: replies to a recipient or to a mail, used up one by one."""

    def __init__(self) -> None:
        self.mails: list[Received] = []
        self.peers: set[Any] = set()
        """Who said EHLO: one entry a connection."""
        self.logins = 0
        self.to_sender: deque[str] = deque()
        self.to_recipient: dict[str, deque[str]] = {}
        self.to_mail: deque[str] = deque()
        self.port = 0

    async def handle_EHLO(  # noqa: N802 - the library's name
        self, server: Any, session: Session, envelope: Envelope, host_name: str, responses: list[str]
    ) -> list[str]:
        session.host_name = host_name
        self.peers.add(session.peer)
        return responses

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.to_sender:
            return self.to_sender.popleft()
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.to_recipient.get(address):
            return self.to_recipient[address].popleft()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.to_mail:
            return self.to_mail.popleft()
        self.mails.append(Received(server, session, envelope))
        return f"250 queued as {len(self.mails)}"

    def authenticate(self, server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        self.logins += 1
        right = isinstance(data, LoginPassword) and data == LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False, auth_data=data)


class _AnyPort(Controller):
    """Listens where the system finds a free port."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, login: bool = False, port: int = 0
) -> Iterator[Inbox]:
    """A server while the context lasts; its `port` is the inbox's."""
    inbox = Inbox()
    options: dict[str, Any] = {}
    if login:
        options = {"authenticator": inbox.authenticate, "auth_require_tls": starttls is not None}
    controller = _AnyPort(
        inbox,
        hostname="127.0.0.1",
        port=port,
        ssl_context=tls,
        tls_context=starttls,
        require_starttls=starttls is not None,
        ready_timeout=20.0,
        **options,
    )
    controller.start()
    inbox.port = controller.port
    try:
        yield inbox
    finally:
        controller.stop()


@asynccontextmanager
async def scripted(*script: bytes | None, each_after_seconds: float = 0.0) -> AsyncIterator[int]:
    """A server that says the greeting and then one text for each line it gets; None: it hangs up there and then."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for text in script:
                if text is None:
                    writer.transport.abort()
                    return
                await asyncio.sleep(each_after_seconds)
                writer.write(text)
                await reader.readline()
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Identity:
    """A certificate for `127.0.0.1` that vouches for itself."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.datetime.now(datetime.UTC)
        addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        self.certificate = certificate.public_bytes(pem).decode()
        path = folder / "identity.pem"
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(secret + certificate.public_bytes(pem))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)
