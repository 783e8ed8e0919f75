"""A run as it happens, in the terminal: nodes light up, models speak. On standard error, so that a pipe gets
the output of the run and nothing else.
"""

import sys
from collections.abc import AsyncIterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.progress import NodeProgress, Progress, RunEvent, evolve, expected

_MARKS = {"pending": ("○", "dim"), "finished": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("–", "dim")}
_SHOWN_TEXT_LINES = 8


async def watch(events: AsyncIterator[RunEvent], nodes: Sequence[str]) -> Progress:
    """Show the events until they end; the last state. Without a terminal, a line for each node that is done."""
    progress = expected(nodes)
    console = Console(stderr=True)
    if not console.is_terminal:
        async for event in events:
            before, progress = progress, evolve(progress, event)
            if progress is not before and (line := _plain(progress, event)):
                print(line, file=sys.stderr, flush=True)
        return progress
    spinners: dict[str, Spinner] = {}
    with Live(console=console, refresh_per_second=12, transient=False) as live:
        async for event in events:
            progress = evolve(progress, event)
            live.update(render(progress, spinners))
    return progress


def render(progress: Progress, spinners: dict[str, Spinner]) -> RenderableType:
    """The nodes, one a line, with what their models say below; `spinners` keeps each turning between two
    calls.
    """
    table = Table.grid(padding=(0, 1))
    parts: list[RenderableType] = [Text(progress.run_id, style="dim"), table]
    for name, node in progress.nodes.items():
        mark: RenderableType
        if node.status == "running":
            mark = spinners.setdefault(name, Spinner("dots", style="cyan"))
        else:
            mark = Text(*_MARKS[node.status])
        table.add_row(mark, Text(name), Text(_seconds(node), style="dim"), Text(node.note, style="red"))
        if node.status == "running" and node.text:
            spoken = "\n".join(node.text.splitlines()[-_SHOWN_TEXT_LINES:])
            parts.append(Padding(Text(spoken, style="italic"), (0, 0, 0, 2)))
    return Group(*parts)


def _plain(progress: Progress, event: RunEvent) -> str:
    if event.node is None:
        return f"{event.type} {event.run_id}"
    node = progress.nodes[event.node]
    if event.type not in ("node.finished", "node.failed", "node.skipped"):
        return ""
    return f"{_MARKS[node.status][0]} {event.node} {_seconds(node)} {node.note}".rstrip()


def _seconds(node: NodeProgress) -> str:
    return "" if node.seconds is None else f"{node.seconds:.3f} s"
