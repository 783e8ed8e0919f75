"""Mail addresses, by a rule narrow enough that one can be put into a header and into an SMTP command as it is.

Of RFC 5321's mailboxes these are the ones with a dot-atom before the `@` and a host name behind it, in ASCII (a domain
in other letters is written as `xn--…`). No quoted local parts, no comments, no address literals, no display names.
"""

import re

import msgspec

MAX_ADDRESSES = 20

_MAX_ADDRESS_CHARACTERS = 254
_MAX_LOCAL_CHARACTERS = 64
_MAX_TEXT_CHARACTERS = MAX_ADDRESSES * (_MAX_ADDRESS_CHARACTERS + 2)
_MAX_SHOWN_CHARACTERS = 80

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@({_LABEL}(?:\.{_LABEL})*)")
_NAMED = re.compile(r"([^<>]*)<([^<>]*)>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Who a mail is from: an address, and a name if it has one."""

    address: str
    name: str = ""


def parse_addresses(text: str) -> list[str]:
    """The addresses in a comma-separated `text`, 1 to 20 of them, each once. ValueError names the one that is none."""
    if len(text) > _MAX_TEXT_CHARACTERS:
        raise ValueError(f"takes at most {MAX_ADDRESSES} mail addresses")
    if _CONTROL.search(text):
        raise ValueError("mail addresses hold no line break or other control character")
    found = list(dict.fromkeys(_address(part.strip(" ")) for part in text.split(",")))
    if len(found) > MAX_ADDRESSES:
        raise ValueError(f"takes at most {MAX_ADDRESSES} mail addresses")
    return found


def parse_sender(text: str) -> Sender:
    """The sender in `address` or `Name <address>`. ValueError says what does not fit."""
    if _CONTROL.search(text):
        raise ValueError("a sender holds no line break or other control character")
    named = _NAMED.fullmatch(text.strip(" "))
    if named is None:
        return Sender(address=_address(text.strip(" ")))
    name = named[1].strip(' "')
    if "=?" in name or len(name) > _MAX_SHOWN_CHARACTERS:
        raise ValueError("the name of a sender is at most 80 characters, as they are read")
    return Sender(address=_address(named[2].strip(" ")), name=name)


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text)
    fits = match is not None and len(text) <= _MAX_ADDRESS_CHARACTERS and len(match[1]) <= _MAX_LOCAL_CHARACTERS
    if not fits or "=?" in text:  # what looks like an encoded word is decoded by those who read headers
        shown = text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}…"
        raise ValueError(f"{shown!r} is not a mail address")
    return text
