"""One thing that was looked at."""

from typing import Literal

import msgspec

State = Literal["good", "odd", "wrong"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """`odd` works, and is probably not meant so. `told` never holds a secret."""

    subject: str
    state: State
    told: str
    do: str = ""


def good(subject: str, told: str) -> Check:
    """All is well."""
    return Check(subject=subject, state="good", told=told)


def odd(subject: str, told: str, do: str) -> Check:
    """It works, but."""
    return Check(subject=subject, state="odd", told=told, do=do)


def wrong(subject: str, told: str, do: str) -> Check:
    """It does not work."""
    return Check(subject=subject, state="wrong", told=told, do=do)
