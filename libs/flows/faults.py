"""What is wrong with a document, an input or a tweak: every fault at once, each with its JSON pointer.

The pointers follow RFC 6901 and count from the root of what the caller sent, so that an editor can mark
the very place. Details never quote values, only names: a value may be a secret.
"""

from collections.abc import Iterable, Sequence

import msgspec

from libs.runtime.failures import Terminal

MAX_FAULTS = 100
_MAX_TOKEN_CHARACTERS = 200


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: where (`pointer`, RFC 6901, "" for the whole) and what (`detail`)."""

    pointer: str
    detail: str


class Invalid(Terminal):
    """Something a caller sent has faults; `faults` holds the first hundred and one that counts the rest."""

    def __init__(self, what: str, faults: Sequence[Fault]) -> None:
        self.faults = limited(faults)
        first = self.faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__("invalid_input", f"{what}: {first.pointer or '/'}: {first.detail}{more}")


class InvalidFlow(Invalid):
    """A flow document can't be saved."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("the flow is invalid", faults)


class InvalidInput(Invalid):
    """A run's input doesn't fit the fields of the flow's `api_input` nodes."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("the input is invalid", faults)


class InvalidTweaks(Invalid):
    """A run's tweaks name what isn't there, what is locked, or make a node invalid."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("the tweaks are invalid", faults)


def limited(faults: Sequence[Fault]) -> list[Fault]:
    """The first `MAX_FAULTS` different faults, and one at the root that says how many more there are."""
    unique = list(dict.fromkeys(faults))
    if len(unique) <= MAX_FAULTS:
        return unique
    return [*unique[:MAX_FAULTS], Fault(pointer="", detail=f"and {len(unique) - MAX_FAULTS} more faults")]


def pointer_to(prefix: str, path: Iterable[str | int]) -> str:
    """`prefix` extended by reference tokens, escaped by RFC 6901 section 3; an endless name is cut short."""
    return prefix + "".join(f"/{_token(step)}" for step in path)


def _token(step: str | int) -> str:
    text = printable(str(step)) if isinstance(step, str) else str(step)
    return text.replace("~", "~0").replace("/", "~1")


def printable(text: str) -> str:
    """`text` as it may stand in a fault: of bounded length and encodable, whatever a caller sent."""
    short = text if len(text) <= _MAX_TOKEN_CHARACTERS else text[:_MAX_TOKEN_CHARACTERS] + "…"
    return short.encode("utf-8", "replace").decode()
