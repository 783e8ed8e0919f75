"""Media types (RFC 6838) as limits name them: `text/plain`, or `image/*` for a whole family."""

import re
from collections.abc import Iterable

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_PATTERN = re.compile(rf"\*/\*|{_NAME}/(?:\*|{_NAME})")


def is_pattern(text: str) -> bool:
    """Whether `text` names a media type or a family of them."""
    return _PATTERN.fullmatch(text) is not None


def matches(content_type: str, patterns: Iterable[str]) -> bool:
    """Whether a Content-Type, its parameters left aside, is one of those that `patterns` name; without any, it is."""
    wanted = [pattern.strip().lower() for pattern in patterns]
    given = content_type.partition(";")[0].strip().lower()
    family = given.partition("/")[0]
    return not wanted or any(pattern in ("*/*", f"{family}/*", given) for pattern in wanted)
