"""How much JSON a value is: the bound that keeps a small flow from making an endless output.

Outputs share their parts (a node that says `["{{ a }}", "{{ a }}"]` holds `a` twice at no cost), so thirty
such nodes would be a billion entries once written out. Whatever a node makes is weighed before it counts.
"""

import math
from typing import Any

from libs.runtime.failures import Terminal

MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 128


class Unfit(ValueError):
    """The value is no JSON, or too much of it; the text says which."""


def weigh(value: Any, limit: int = MAX_BYTES) -> int:
    """The rough size of `value` as JSON, in bytes: characters, and a few for each entry.

    Raises `Unfit` where it passes `limit`, nests deeper than `MAX_DEPTH`, or holds what JSON can't: another
    type, a number that isn't finite, a key that isn't a string, half a surrogate pair.
    """
    total = 0
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            total += _own_weight(item)
            if total > limit:
                raise Unfit(f"larger than {limit} bytes")
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return total
        level = below
    raise Unfit(f"nested more than {MAX_DEPTH} levels deep")


def _own_weight(item: Any) -> int:
    """The weight of one value without what it holds, but with a byte for each thing it holds."""
    match item:
        case str():
            return _text_weight(item)
        case None | bool():
            return 4
        case int():
            return 2 + item.bit_length() // 3
        case float():
            if not math.isfinite(item):
                raise Unfit("a number that is not finite")
            return 8
        case list():
            return 2 + len(item)
        case dict():
            return 2 + sum(map(_key_weight, item))
    raise Unfit(f"not JSON: {type(item).__name__.strip('_').lower()}")


def _key_weight(key: Any) -> int:
    if not isinstance(key, str):
        raise Unfit("an object's key that is not a string")
    return 2 + _text_weight(key)


def _text_weight(text: str) -> int:
    if not text.isascii():
        try:
            return 2 + len(text.encode())
        except UnicodeEncodeError:
            raise Unfit("a string with half a surrogate pair") from None
    return 2 + len(text)


def weighed(value: Any, what: str) -> Any:
    """`value` itself, if it may be (a part of) a node's output; else `Terminal` "node_failed"."""
    try:
        weigh(value)
    except Unfit as unfit:
        raise Terminal("node_failed", f"{what}: the result is {unfit}") from None
    return value
