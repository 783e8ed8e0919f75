"""What a process is told from outside: read once from the environment in the composition root.

Every setting is an environment variable `HEADGATE_<NAME>`; a secret may come from a file named by
`HEADGATE_<NAME>_FILE`. Nothing else in the code reads the environment, but for model providers
(`services/executor/models`) and traces (`libs/runtime/tracing.py`), whose variables are named by their own conventions.
"""

import base64
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from libs.runtime.mail_addresses import Sender, parse_addresses, parse_sender
from libs.runtime.mail_server import MailServer, parse_smtp_url


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one service process. Times are seconds, sizes bytes."""

    service: str = "service"
    index: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    nats_url: str = "nats://127.0.0.1:4222"
    """Where NATS is; of a cluster its servers' URLs, separated by commas."""
    nats_nkey: str = ""
    """The nkey seed (`SU…`) that the process proves who it is by; empty: the servers ask nobody."""
    nats_ca: str = ""
    """PEM of the authorities that may vouch for the servers; empty: the connection need not be encrypted."""
    postgres_dsn: str = ""
    """libpq URL; empty: the service runs without the read models that need PostgreSQL."""
    master_key: str = ""
    """Base64 of 32 random bytes; every other secret of an installation is derived from it."""
    admin_key: str = ""
    log_level: str = "info"
    streams: int = 4
    """How many event streams a new log is made with; an existing log keeps its own number."""
    replicas: int = 1
    """Replicas of each stream: 3 on a cluster."""
    converge: bool = True
    """Whether a starting process brings streams and tables to what it needs; else it waits for `headgate migrate`."""
    lease_seconds: float = 10.0
    """How long an executor may be silent about a run before another one takes it over."""
    concurrency: int = 256
    """Runs that one executor works on at the same time."""
    waiting: int = 12_000
    """Runs that it takes in beyond those, so that workspaces can take turns."""
    max_body_bytes: int = 10 * 1024 * 1024
    max_file_bytes: int = 25 * 1024 * 1024
    """The largest file that may be uploaded, or fetched for a run."""
    file_types: str = ""
    """Content types that files may have, such as `text/*,application/pdf`; empty: any."""
    embedding_model: str = ""
    """`provider/model` by which collections are searched; empty: they are searched by words."""
    sync_timeout_seconds: float = 300.0
    """How long a synchronous call waits before it is answered 202 with the run."""
    drain_seconds: float = 8.0
    """How long a stopping process may finish what it holds before it hands it over."""
    linger_seconds: float = 0.0
    """How long a stopping process still takes requests, ending each connection with its answer: for balancers."""
    delivery_schedule: str = ""
    """The pause before each attempt at a delivery, comma-separated seconds; empty: ten attempts over 75 hours."""
    delivery_timeout_seconds: float = 15.0
    """How long a receiver may take to answer one attempt."""
    webhook_failing_seconds: float = 5 * 86_400.0
    """How long a webhook's address may fail, without a success between, before the webhook is disabled."""
    egress_allow: str = ""
    public_url: str = ""
    """The address callers use, for links in answers; empty: taken from the request."""
    smtp_url: str = ""
    """Where mail is handed in (`libs/runtime/mail_server.py` says how it is written); empty: nobody is sent mail."""
    smtp_ca: str = ""
    """PEM certificates that alone vouch for the mail server; empty: those that the machine trusts."""
    email_from: str = ""
    """`address` or `Name <address>`; empty: the SMTP URL's user if that is an address, else `headgate@localhost`."""
    alert_email: str = ""
    """Who is told by mail of deliveries that fail for good, comma-separated addresses; empty: nobody."""
    data: str = ""
    """The directory of an installation on one machine: the disk that it lies on is watched."""
    parent_fd: int = -1
    """A pipe whose end of file means that the supervisor is gone; -1: there is none."""

    @property
    def instance(self) -> str:
        """A name for this process that is unique while it lives, safe as a NATS token."""
        host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:40]
        return f"{self.service}-{self.index}-{host}-{os.getpid()}"

    @property
    def master_secret(self) -> bytes:
        """The decoded master key. ValueError when it is missing or too short."""
        try:
            secret = base64.b64decode(self.master_key, validate=True)
        except ValueError as error:
            raise ValueError("HEADGATE_MASTER_KEY must be base64") from error
        if len(secret) < 32:
            raise ValueError("HEADGATE_MASTER_KEY must hold at least 32 bytes, base64-encoded")
        return secret

    @property
    def mail_server(self) -> MailServer | None:
        """Where mail is handed in, if anywhere. ValueError when the URL does not fit."""
        return parse_smtp_url(self.smtp_url) if self.smtp_url else None

    @property
    def mail_trust(self) -> ssl.SSLContext:
        """By whom a mail server's certificate may be signed. ValueError when there is no such certificate."""
        try:
            return ssl.create_default_context(cadata=self.smtp_ca or None)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError("holds no certificates in PEM") from error

    @property
    def mail_sender(self) -> Sender:
        """Who mails are from. ValueError when that is no address."""
        if self.email_from:
            return parse_sender(self.email_from)
        try:
            return parse_sender(self.mail_server.user if self.mail_server else "")
        except ValueError:
            return Sender(name="Headgate", address="headgate@localhost")

    @property
    def alert_addresses(self) -> list[str]:
        """Who is told of failures. ValueError naming an address that is none."""
        return parse_addresses(self.alert_email) if self.alert_email else []


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`. ValueError names the variable that does not fit."""
    found: dict[str, str] = {}
    for name in Settings.__struct_fields__:
        variable = f"HEADGATE_{name.upper()}"
        if variable in environment:
            found[name] = environment[variable]
        elif f"{variable}_FILE" in environment:
            found[name] = _text_of(Path(environment[f"{variable}_FILE"]), variable)
    try:
        settings = msgspec.convert(found, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"a setting does not fit: {error} (variables are named HEADGATE_<NAME>)") from error
    _check("SMTP_URL", lambda: settings.mail_server)
    _check("SMTP_CA", lambda: settings.mail_trust if settings.smtp_ca else None)
    _check("EMAIL_FROM", lambda: settings.mail_sender)
    _check("ALERT_EMAIL", lambda: settings.alert_addresses)
    return settings


def _text_of(file: Path, variable: str) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise ValueError(f"{variable}_FILE: {error.strerror}: {file}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{variable}_FILE: {file} is not a text in UTF-8") from None


def _check(name: str, read: Callable[[], object]) -> None:
    """Have a text read that means more than its type says."""
    try:
        read()
    except ValueError as error:
        raise ValueError(f"HEADGATE_{name}: {error}") from error
