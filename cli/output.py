"""What commands print: tables and sentences for people, JSON for programs. Results go to standard output, the
rest to standard error.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_STATUS_STYLES = {
    "completed": "green",
    "active": "green",
    "running": "cyan",
    "queued": "blue",
    "failed": "red",
    "cancelled": "yellow",
}
_STATE_STYLES = {"good": "green", "odd": "yellow", "warning": "yellow", "wrong": "red", "critical": "bold red"}


def print_json(value: object) -> None:
    """One JSON document, indented when people look at it."""
    text = msgspec.json.encode(value)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    print(text.decode(), flush=True)


def print_value(value: object) -> None:
    """A run's output: text as it is, anything else as JSON."""
    if isinstance(value, str):
        print(value, flush=True)
    else:
        print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """A table as wide as the terminal, its first column whole, for ids are there to be copied; into a pipe, a line a
    row, separated by tabs and without a heading."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(_text(cell) for cell in row))
        return
    console = Console()
    if not rows:
        console.print(empty, style="dim")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        whole = max(len(_text(row[0])) for row in rows) if number == 0 else None
        table.add_column(column, no_wrap=True, min_width=whole)
    for row in rows:
        table.add_row(*(_styled(_text(cell)) for cell in row))
    console.print(table)


def print_judgements(judgements: Sequence[tuple[str, str, str]]) -> None:
    """A line for each: how it is (`good`, `odd`, `warning`, `wrong`, `critical`), what, and below it what to do."""
    console = Console(highlight=False, soft_wrap=True)
    for state, what, do in judgements:
        console.print(f"[{_STATE_STYLES.get(state, '')}]{state:<8}[/]  {escape(what)}")
        if do:
            console.print(f"          [dim]{escape(do)}[/]")


def print_facts(facts: Mapping[str, Any]) -> None:
    """Names and values, one a line; values are never wrapped, so that they can be copied."""
    console = Console(highlight=False, soft_wrap=True)
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        console.print(f"[dim]{escape(name):<{width}}[/]  {escape(_text(value))}")


def day_and_time(instant: str | None) -> str | None:
    """An RFC 3339 time as far as people read it: `2026-01-02 03:04:05`, in UTC as the API has it."""
    return instant[:19].replace("T", " ") if instant else instant


def _text(cell: object) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return cell if isinstance(cell, str) else msgspec.json.encode(cell).decode()


def _styled(text: str) -> str:
    style = _STATUS_STYLES.get(text)
    return f"[{style}]{text}[/]" if style else escape(text)
