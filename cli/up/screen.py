"""The terminal of `headgate up`: its own lines, and those of the log files made readable."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec
from rich.console import Console
from rich.text import Text

_STYLES = {"debug": "dim", "info": "green", "warning": "yellow", "error": "red", "critical": "bold red"}
_SERVICE_STYLES = {"gateway": "cyan", "auth": "magenta", "executor": "blue", "notifier": "bright_yellow"}
_HIDDEN = frozenset({"timestamp", "level", "event", "service", "index", "instance", "exception"})
_SERVER_NOISE = "Maximum payloads over"
"""NATS says at each start that 32 MiB are much; they are meant, for files that travel in a run's events."""
_SERVER_TROUBLE = re.compile(r"\[(WRN|ERR|FTL)\]|\b(WARNING|ERROR|FATAL|PANIC):")
_NOTHING_TO_DO = re.compile(r'"level": ?"(info|debug)"')
_READ_AT_ONCE = 20
"""So many lines that ask for nothing are shown of what a log has got in one look; there are ten looks a second.
Nobody reads more, and at thousands of runs a second showing them all took half a core from those who carry the runs."""


class _Console(Console):
    """Rich ends the program when its reader is gone; here it only goes quiet."""

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()


class Screen:
    """Prints lines, each at once and whole: pipes are never wrapped, coloured or held back.

    Once nobody reads the output it falls silent: that the terminal is gone is no reason to stop serving.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        self._console = _Console(file=file, highlight=False, soft_wrap=True, emoji=False, markup=False)

    def say(self, line: str | Text = "", *, style: str = "") -> None:
        """Print a line of the supervisor's own."""
        try:
            self._console.print(line, style=style or None)
        except OSError:  # a terminal that was closed
            self._console.quiet = True

    def show_new(self, source: str, lines: Iterable[str], log: Path) -> None:
        """Print what a log has got: all that asks for attention, and of the rest as much as can be read."""
        shown = passed_over = 0
        for line in lines:
            if shown < _READ_AT_ONCE or not _NOTHING_TO_DO.search(line):
                self.show(source, line)
                shown += 1
            else:
                passed_over += 1
        if passed_over:
            self.say(f"{source:<12} and {passed_over} lines more in {log}", style="dim")

    def show(self, source: str, line: str) -> None:
        """Print a line of a log; of the two servers, only their warnings and errors."""
        if source.startswith(("nats", "postgres")):
            if _SERVER_TROUBLE.search(line) and _SERVER_NOISE not in line:
                self.say(Text.assemble((f"{source:<12} ", "dim"), (line, "yellow")))
            return
        try:
            fields = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            self.say(Text.assemble((f"{source:<12} ", "dim"), line))
            return
        self.say(readable(source, fields))


def readable(source: str, fields: dict[str, Any]) -> Text:
    """`12:30:01 gateway-0    info     run accepted  run_id=run_1`, of one structured line."""
    level = str(fields.get("level", "info"))
    text = Text.assemble(
        (f"{str(fields.get('timestamp', ''))[11:19]:<8} ", "dim"),
        (f"{source:<12} ", _SERVICE_STYLES.get(source.rpartition("-")[0], "")),
        (f"{level:<8} ", _STYLES.get(level, "")),
        (str(fields.get("event", "")), "bold" if level in ("error", "critical") else ""),
    )
    for name, value in fields.items():
        if name not in _HIDDEN:
            text.append(f"  {name}=", "dim")
            text.append(value if isinstance(value, str) else msgspec.json.encode(value).decode())
    if "exception" in fields:
        text.append(f"\n{fields['exception']}", "red")
    return text
