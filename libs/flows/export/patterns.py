r"""Patterns of fields, in Python's words where both engines surely mean the same.

The API matches with Rust's `regex` crate as `jsonschema-rs` drives it: by ECMA 262 `\d` and `\w` are ASCII, `\s` is
what Unicode calls white space, and `$` is the very end. The plain part of that language is translated to `re`; any
other pattern is left to `jsonschema-rs` itself, which the file then names.
"""

import re

_DIGIT, _WORD = "0-9", "A-Za-z0-9_"
_SPACE = r"\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}

_ESCAPED = r"\\[\\^$.|?*+()\[\]{}/-]|\\[nrt]"
_SINGLE = rf"[^\[\]\\-]|{_ESCAPED}"
_MEMBERS = rf"(?!\^)-?(?:\\[dws](?!-[^\]])|(?:{_SINGLE})(?:-(?:{_SINGLE}))?)+-?"
_QUANTIFIER = re.compile(r"(?:[*+?]|\{\d{1,4}(?:,(?:\d{1,4})?)?\})\??(?![*+?{])")
_TOKEN = re.compile(
    rf"""
    (?P<plain>[^\\^$.|?*+()\[\]{{}}]|{_ESCAPED})
    | \\(?P<class>[dDwWsS])
    | (?P<dot>\.)
    | (?P<start>\^)
    | (?P<end>\$)
    | (?P<open>\((?:\?:)?(?![?*+{{]))
    | (?P<close>\))
    | (?P<or>\|)
    | \[(?P<negated>\^?)(?P<members>{_MEMBERS})\]
    """,
    re.VERBOSE | re.ASCII,
)
_MEMBER = re.compile(r"\\([dws])|\\.")
_SET_OPERATIONS = ("&&", "~~", "||")


def python_pattern(pattern: str) -> str | None:
    """The pattern for `re.search` that matches where the API's engine does; None where that isn't certain."""
    translated = []
    position = 0
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None:
            return None
        part = _translated(token)
        if part is None:
            return None
        position = token.end()
        quantifier = _QUANTIFIER.match(pattern, position)
        if quantifier is not None and token.lastgroup in ("start", "end", "open", "or"):
            return None
        translated.append(part + (quantifier[0] if quantifier else ""))
        position = quantifier.end() if quantifier else position
    found = "".join(translated)
    try:
        re.compile(found)
    except (re.error, OverflowError):
        return None
    return found


def _translated(token: re.Match[str]) -> str | None:
    match token.lastgroup:
        case "class":
            kind = token["class"]
            return f"[{'^' if kind.isupper() else ''}{_CLASSES[kind.lower()]}]"
        case "end":
            return r"\Z"
        case "members":
            members = token["members"]
            if any(operation in members for operation in _SET_OPERATIONS):
                return None
            return f"[{token['negated']}{_MEMBER.sub(_member, members)}]"
    return token[0]


def _member(found: re.Match[str]) -> str:
    return _CLASSES[found[1]] if found[1] else found[0]
