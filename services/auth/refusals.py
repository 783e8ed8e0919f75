"""How a decision says no. What is raised here is answered as `Refused`, with the same code and words."""

from libs.events.auth_calls import UNKNOWN_KEY
from libs.runtime.failures import Terminal


class Refusal(Terminal):
    """What was asked for is not done, and nothing was changed."""

    def __init__(self, code: str, message: str, pointer: str | None = None) -> None:
        super().__init__(code, message)
        self.pointer = pointer


def invalid(pointer: str, message: str) -> Refusal:
    """The place in the body (JSON pointer) that does not fit, and why."""
    return Refusal("invalid_input", f"{pointer}: {message}", pointer)


def unauthorized() -> Refusal:
    """The key is not, or no longer, one that opens anything."""
    return Refusal("unauthorized", UNKNOWN_KEY)


def not_found(what: str) -> Refusal:
    """The same for what does not exist, is deleted, or is another workspace's."""
    return Refusal("not_found", f"there is no such {what}")


def read_name(name: str) -> str:
    """A name as it is kept: 1 to 200 characters, no control characters, spaces around it gone."""
    name = name.strip()
    if not 1 <= len(name) <= 200:
        raise invalid("/name", "must have 1 to 200 characters")
    if any(character < " " or character == "\x7f" for character in name):
        raise invalid("/name", "must not hold control characters")
    return name
