"""Values as the literals of a language, and templates that they are put into.

A value reaches a snippet through one of these functions and never otherwise, so that no input, name or address can end
a string early. What is put in is not looked at again for further places.
"""

import re
import shlex
from typing import Any

import msgspec

_PLACE = re.compile(r"«(\w+)»")
_WORD = re.compile(r'"(?:\\.|[^"\\])*"|\b(?:true|false|null)\b')
_PYTHON_WORDS = {"true": "True", "false": "False", "null": "None"}


def fill(template: str, **values: str) -> str:
    """The template with `«name»` replaced; the further lines of a value are indented like the line it begins on."""
    lines = [_fill_line(line, values) for line in template.strip("\n").split("\n")]
    return "\n".join(lines) + "\n"


def _fill_line(line: str, values: dict[str, str]) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return _PLACE.sub(lambda place: values[place[1]].replace("\n", f"\n{indent}"), line)


def javascript(value: Any) -> str:
    """JSON is JavaScript (ECMAScript 2019 and later)."""
    return _json(value, 2)


def python(value: Any) -> str:
    """JSON with Python's words; the escapes of its strings are Python's too."""
    return _WORD.sub(lambda word: _PYTHON_WORDS.get(word[0], word[0]), _json(value, 4))


def shell(text: str) -> str:
    """A text as one word of any POSIX shell."""
    return shlex.quote(text)


def shell_json(value: Any) -> str:
    """A value as one word that holds its JSON."""
    return shell(_json(value, 2))


def prose(text: str) -> str:
    """A text for a comment or a docstring: without what could end one."""
    return "".join(c if c.isprintable() and c not in '"\\`' else " " for c in text)


def _json(value: Any, indent: int) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()
