"""The mail server that an operator names: `HEADGATE_SMTP_URL`, read into a value.

    smtp://user:password@mail.example.com:587?starttls=auto     STARTTLS; `true`, `false` or `auto`, the default
    smtps://user:password@mail.example.com:465                  TLS from the start

User and password are percent-encoded. Nothing raised here holds a part of the URL: it may be the password.
"""

import re
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

Tls = Literal["from_start", "required", "if_offered", "never"]

_NO_HOST = "must name a host, and a port from 1 to 65535; percent-encode what is special in user and password"
_PORTS = {"smtp": 587, "smtps": 465}
_STARTTLS: dict[str, Tls] = {"true": "required", "auto": "if_offered", "false": "never"}

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*")
_UNFIT = re.compile(r"[\x00-\x20\x7f]")
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail is handed in, and how."""

    host: str
    port: int
    tls: Tls
    user: str = ""
    password: str = ""

    @property
    def judged(self) -> bool:
        """Whether it must show a certificate for its name that somebody trusted signed.

        `if_offered` protects from nobody who can change what is sent (he takes the offer out), so it asks for no
        proof. But a password goes to nobody unproven, unless it stays on this machine or the operator said `false`.
        """
        return self.tls in ("from_start", "required")


def parse_smtp_url(text: str) -> MailServer:
    """The server that `text` names. ValueError says what does not fit, without a part of it."""
    if _UNFIT.search(text):
        raise ValueError("must not hold a space or a control character: percent-encode them")
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ValueError(_NO_HOST) from None
    if url.scheme not in _PORTS:
        raise ValueError("must start with smtp:// or smtps://")
    if not _HOST.fullmatch(host) or len(host) > 253 or port == 0:
        raise ValueError(_NO_HOST)
    if url.path not in ("", "/") or url.fragment:
        raise ValueError("must end after host and port, but for ?starttls=true, false or auto")
    user, password = _login(url.username, url.password)
    tls = _tls(url.scheme, url.query)
    if tls == "if_offered" and user and not _LOOPBACK.fullmatch(host):
        tls = "required"
    return MailServer(host=host, port=port or _PORTS[url.scheme], tls=tls, user=user, password=password)


def _login(user: str | None, password: str | None) -> tuple[str, str]:
    if bool(user) != bool(password):
        raise ValueError("must have user and password, or neither")
    try:
        found = unquote(user or "", errors="strict"), unquote(password or "", errors="strict")
    except UnicodeDecodeError:
        raise ValueError("must have user and password in UTF-8, percent-encoded") from None
    if any(_UNFIT.search(part.replace(" ", "")) for part in found):
        raise ValueError("must not have a control character in user or password")
    return found


def _tls(scheme: str, query: str) -> Tls:
    options = parse_qsl(query, keep_blank_values=True)
    if scheme == "smtps":
        if options:
            raise ValueError("takes no option with smtps://, which is TLS from the start")
        return "from_start"
    if not options:
        return "if_offered"
    if len(options) > 1 or options[0][0] != "starttls" or options[0][1] not in _STARTTLS:
        raise ValueError("takes one option: starttls=true, false or auto")
    return _STARTTLS[options[0][1]]
