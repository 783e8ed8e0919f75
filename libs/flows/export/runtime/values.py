"""Values: JSON as text, lookups by path, and the filters of templates."""

import json
from typing import Any
from urllib.parse import quote

from libs.flows.weight import MAX_BYTES
from libs.runtime.failures import Terminal

_JSON_ESCAPE = "\\u"


def read(value: Any, *path: str | int | tuple[str, int]) -> Any:
    """What lies at `path`; null where it leads nowhere.

    A number is an array's index (negative from its end) or an object's key; a pair says the two apart.
    """
    for step in path:
        if isinstance(value, dict):
            value = value.get(step[0] if isinstance(step, tuple) else str(step))
        elif isinstance(value, list) and not isinstance(step, str):
            index = step[1] if isinstance(step, tuple) else step
            value = value[index] if -len(value) <= index < len(value) else None
        else:
            return None
    return value


def text(*parts: Any) -> str:
    """The parts as one text, each as `text_of` reads it."""
    texts = [text_of(part) for part in parts]
    if sum(map(len, texts)) > MAX_BYTES:
        raise Terminal("node_failed", f"a template's text is larger than {MAX_BYTES} characters")
    return "".join(texts)


def text_of(value: Any) -> str:
    """How a value reads inside a text: null as nothing, a string as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(value)


def upper(value: Any) -> str:
    """The filter `upper`."""
    return text_of(value).upper()


def lower(value: Any) -> str:
    """The filter `lower`."""
    return text_of(value).lower()


def trim(value: Any) -> str:
    """The filter `trim`: no white space around."""
    return text_of(value).strip()


def urlencode(value: Any) -> str:
    """The filter `urlencode`: percent-encoded as one component of a URL."""
    return quote(text_of(value), safe="")


def length(value: Any) -> int:
    """The filter `length`: of an array, an object, or else the text."""
    return len(value) if isinstance(value, (list, dict)) else len(text_of(value))


def default(value: Any, fallback: Any) -> Any:
    """The filter `default`: `fallback` stands in for null and for the empty string."""
    return fallback if value is None or value == "" else value


def omit(members: dict[str, Any], *names: str) -> dict[str, Any]:
    """An object without some of its members."""
    return {name: value for name, value in members.items() if name not in names}


def to_json(value: Any) -> str:
    """JSON without spaces; numbers as short as they can be told apart."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return f"[{','.join(map(to_json, value))}]"
    if isinstance(value, dict):
        members = (f"{json.dumps(name, ensure_ascii=False)}:{to_json(item)}" for name, item in value.items())
        return f"{{{','.join(members)}}}"
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """`1e16`, not `1e+16`; `0.00001`, but `1e-6`."""
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    if int(exponent) != -5:
        return f"{mantissa}e{int(exponent)}"
    sign = "-" if value < 0 else ""
    return f"{sign}0.0000{mantissa.lstrip('-').replace('.', '')}"


def read_json(source: str) -> Any:
    """The value. Raises ValueError or RecursionError for what RFC 8259 does not have: NaN, half a surrogate pair."""
    source.encode()
    value = json.loads(source, parse_constant=_no_constant, parse_float=_finite)
    if _JSON_ESCAPE in source:
        to_json(value).encode()
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return number
