"""Connections to the mail server: a few, opened when there is mail, and kept for a moment for the mail after it.

An attempt ends in bounded time, with its wait for a free connection and all that is said over it.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec
from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

from libs.runtime.mail_server import MailServer

_MAX_CONNECTIONS = 8
_MAX_MAILS = 100
"""Over one connection; then a new one is opened, which may lead to another server behind the name."""

_GOODBYE_SECONDS = 2.0
_UNAVAILABLE = 421


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long is waited, in seconds."""

    attempt: float = 15.0
    idle: float = 10.0
    """For the next mail, before a connection is closed."""
    login: float = 60.0
    """After a refused login, before the next one: a server that is asked too often locks the account."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a mail is from and for. `together`: none of them gets it before all of them can."""

    sender: str
    recipients: Sequence[str]
    together: bool


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """How the server took a mail: what it said, and whom it refused. Without an answer nothing was handed over."""

    answer: str | None
    refused: Sequence[SMTPRecipientRefused] = ()


class LoginRefused(Exception):
    """The mail server refuses our user or password: no mail's fault."""

    def __init__(self, status: int, answer: str) -> None:
        super().__init__(f"{status} {answer}")
        self.status = status
        self.answer = answer


class MailConnections:
    """Hands mails over. `async with`: connections are closed when it is left."""

    def __init__(self, server: MailServer, trust: ssl.SSLContext, patience: Patience | None = None) -> None:
        self._server = server
        self._trust = trust
        self._patience = patience or Patience()
        self._room = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._idle: list[_Connection] = []
        self._done: list[_Connection] = []
        """To be closed, by the task that does so: what was handed over is not held up, nor lost, by a goodbye."""
        self._login_refused: tuple[float, LoginRefused] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._closing = asyncio.create_task(self._close_idle())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._closing is not None:
            self._closing.cancel()
            await asyncio.gather(self._closing, return_exceptions=True)
        await _leave([*self._idle, *self._done])

    async def hand_over(self, envelope: Envelope, mail: bytes) -> Handed:
        """Hand one mail over. Raises `SMTPException`, `LoginRefused`, `OSError` or `TimeoutError`."""
        async with asyncio.timeout(self._patience.attempt), self._room:
            kept = self._take()
            if kept is not None:
                try:
                    return await self._over(kept, envelope, mail)
                except _GoneStale:
                    pass
            return await self._over(await self._open(), envelope, mail)

    def _take(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.smtp.is_connected:
                return connection
        return None

    async def _over(self, connection: "_Connection", envelope: Envelope, mail: bytes) -> Handed:
        try:
            handed = await connection.hand_over(envelope, mail)
        except SMTPException:
            self._done.append(connection)
            raise
        except BaseException:
            connection.smtp.close()
            raise
        connection.idle_since = asyncio.get_running_loop().time()
        (self._idle if connection.mails < _MAX_MAILS else self._done).append(connection)
        return handed

    async def _open(self) -> "_Connection":
        loop, server = asyncio.get_running_loop(), self._server
        if self._login_refused is not None and loop.time() < self._login_refused[0]:
            raise self._login_refused[1]
        smtp = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            local_hostname=_own_name(),
            timeout=self._patience.attempt,
            use_tls=server.tls == "from_start",
            start_tls={"required": True, "if_offered": None}.get(server.tls, False),
            tls_context=self._trust,
        )
        try:
            await smtp.connect()
        except SMTPAuthenticationError as error:
            refused = LoginRefused(error.code, error.message)
            self._login_refused = loop.time() + self._patience.login, refused
            raise refused from error
        return _Connection(smtp)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(self._patience.idle / 4)
            old = asyncio.get_running_loop().time() - self._patience.idle
            leaving = [*self._done, *(connection for connection in self._idle if connection.idle_since < old)]
            self._idle = [connection for connection in self._idle if connection.idle_since >= old]
            self._done = []
            await _leave(leaving)


class _GoneStale(SMTPServerDisconnected):
    """A connection that was kept is gone, and nothing was said over it that counts."""


class _Connection:
    """An open one."""

    def __init__(self, smtp: SMTP) -> None:
        self.smtp = smtp
        self.mails = 0
        self.idle_since = 0.0

    async def hand_over(self, envelope: Envelope, mail: bytes) -> Handed:
        """One mail: from whom, for whom, and what."""
        kept, self.mails = self.mails > 0, self.mails + 1
        try:
            await self.smtp.mail(envelope.sender)
        except (SMTPServerDisconnected, SMTPSenderRefused) as error:
            if kept and getattr(error, "code", _UNAVAILABLE) == _UNAVAILABLE:
                raise _GoneStale("the connection was closed meanwhile") from error
            raise
        refused: list[SMTPRecipientRefused] = []
        for recipient in envelope.recipients:
            try:
                await self.smtp.rcpt(recipient)
            except SMTPRecipientRefused as error:
                refused.append(error)
        waiting = envelope.together and any(error.code < 500 for error in refused)
        if waiting or len(refused) == len(envelope.recipients):
            with suppress(SMTPException):
                await self.smtp.rset()
            return Handed(answer=None, refused=refused)
        response = await self.smtp.data(mail)
        return Handed(answer=response.message, refused=refused)

    async def leave(self) -> None:
        """Say goodbye, if the server still listens, and close."""
        try:
            if self.smtp.is_connected:
                with suppress(SMTPException, OSError):
                    await self.smtp.quit(timeout=_GOODBYE_SECONDS)
        finally:
            self.smtp.close()


async def _leave(connections: Iterable[_Connection]) -> None:
    await asyncio.gather(*(connection.leave() for connection in connections))


def _own_name() -> str:
    """What we call ourselves in EHLO: this machine's name where it can be said, without asking the network for it."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"
