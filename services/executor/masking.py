"""Keeps the values of secrets out of what is stored: `[secret]` stands where one would.

What is looked for is each value of four characters or more, and what the filters of templates and JSON make of it.
A value that a node cuts up or computes with is not known again; that is the flow's own doing.
"""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from libs.events.run_events import (
    Fault,
    NodeDelta,
    NodeFailed,
    NodeFinished,
    NodeRetrying,
    RunCompleted,
    RunEvent,
    RunFailed,
)

MASKED = "[secret]"
_MIN_CHARACTERS = 4


class Mask:
    """The values of one run's secrets. Without any it changes nothing and costs nothing."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= _MIN_CHARACTERS}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, self._forms))) if forms else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def text(self, text: str) -> str:
        """The text with every value masked."""
        return self._pattern.sub(MASKED, text) if self._pattern else text

    def value(self, value: Any) -> Any:
        """The same for a JSON value, at any depth, keys included; a number that spells a secret is masked too."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(item) for item in value]
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
            case int() | float() if not isinstance(value, bool):
                return MASKED if MASKED in self.text(repr(value)) else value
        return value

    def split(self, text: str) -> tuple[str, str]:
        """What of a growing text may be said, masked, and the rest: its end may be the beginning of a value."""
        if self._pattern is None:
            return text, ""
        cut = len(text) - max(_overlap(text, form) for form in self._forms)
        for found in self._pattern.finditer(text):
            if found.start() < cut < found.end():
                cut = found.start()
        return self.text(text[:cut]), text[cut:]

    def event(self, event: RunEvent) -> RunEvent:
        """The event as it may be stored. Only what nodes and failures say is looked at, never names or ids."""
        if self._pattern is None:
            return event
        match event:
            case NodeFinished(data=data) | RunCompleted(data=data):
                return _with(event, output=self._output(data.output))
            case NodeDelta(data=data):
                return _with(event, text=self.text(data.text), reasoning=self.text(data.reasoning))
            case NodeRetrying(data=data) | NodeFailed(data=data) | RunFailed(data=data):
                return _with(event, error=self._fault(data.error))
        return event

    def _output(self, output: Any) -> Any:
        return self.value(msgspec.json.decode(output) if isinstance(output, msgspec.Raw) else output)

    def _fault(self, fault: Fault) -> Fault:
        return msgspec.structs.replace(fault, message=self.text(fault.message))


def _with(event: RunEvent, **changes: Any) -> RunEvent:
    return msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, **changes))


def _forms(value: str) -> Iterable[str]:
    for written in (value, value.strip(), value.upper(), value.lower()):
        yield written
        yield quote(written, safe="")
        yield quote(written)
        for ascii_only in (True, False):
            yield json.dumps(written, ensure_ascii=ascii_only)[1:-1]


def _overlap(text: str, form: str) -> int:
    """The length of the longest end of `text` that `form` begins with, and goes on after."""
    start = text.find(form[0], max(0, len(text) - len(form) + 1))
    while start >= 0 and not form.startswith(text[start:]):
        start = text.find(form[0], start + 1)
    return len(text) - start if start >= 0 else 0
