"""What was measured besides synchronous runs, as tables; nothing where it was not asked for."""

from collections.abc import Iterator

from rich.box import SIMPLE
from rich.table import Table

from bench.report import Million, Ratio, Report, Row


def besides(found: Report) -> Iterator[Table]:
    """The tables, in the order of the report."""
    extras = found.extras
    if found.submission_ratios:
        yield _submissions(found)
    if extras.shapes:
        yield _shapes(found)
    if extras.first_words or extras.streams:
        yield _streams(found)
    if extras.million is not None:
        yield _million(extras.million)
    if extras.peers:
        yield _peers(found)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _submissions(found: Report) -> Table:
    table = _table("Submissions: answered when accepted", "fsync", "conns", "floor/s", "product/s", "p50 ms", "ratio")
    for ratio in found.submission_ratios:
        floor, product = (_row(found.submissions, ratio, name) for name in ("floor", "product"))
        table.add_row(
            ratio.fsync,
            str(ratio.connections),
            f"{floor.runs_per_second:,.0f}",
            f"{product.runs_per_second:,.0f}",
            f"{product.p50_milliseconds:.2f}",
            f"[bold]{ratio.runs_per_second:.2f}[/]",
        )
    return table


def _row(rows: list[Row], ratio: Ratio, target: str) -> Row:
    wanted = (target, ratio.fsync, ratio.connections)
    return next(row for row in rows if (row.target, row.fsync, row.connections) == wanted)


def _shapes(found: Report) -> Table:
    columns = ("conns", "runs/s", "p50 ms", "p99 ms", "CPU ms a run", "kB stored")
    table = _table(f"Other shapes, fsync {found.extras.shapes[0].fsync}", "flow", *columns)
    for shape in found.extras.shapes:
        table.add_row(
            shape.words,
            str(shape.connections),
            f"{shape.runs_per_second:,.1f}",
            f"{shape.p50_milliseconds:.2f}",
            f"{shape.p99_milliseconds:.2f}",
            f"{sum(shape.cpu_milliseconds_per_run.values()):.2f}",
            f"{shape.stored_bytes_per_run / 1000:.1f}",
        )
    return table


def _streams(found: Report) -> Table:
    table = _table("Streams", "what", "figure")
    for word in found.extras.first_words:
        table.add_row(f"first word, p50 (fsync {word.fsync})", f"{word.p50_milliseconds:.2f} ms")
        table.add_row("  of it the model server's own", f"{word.model_milliseconds:.2f} ms")
        table.add_row("  first word, p99", f"{word.p99_milliseconds:.2f} ms")
    for each in found.extras.streams:
        name = "1 event stream" if each.streams == 1 else f"{each.streams:,} event streams"
        table.add_row(name, f"{each.events_per_second:,.0f} events/s")
        table.add_row("  to the first event, median", f"{each.first_milliseconds:.1f} ms")
    return table


def _million(found: Million) -> Table:
    title = f"With {found.runs:,} runs in the log and the table, fsync {found.fsync}"
    table = _table(title, "", "without", "with", "ratio")
    for empty, full in zip(found.empty, found.full, strict=True):
        table.add_row(
            f"runs/s, {empty.connections} connections",
            f"{empty.runs_per_second:,.0f}",
            f"{full.runs_per_second:,.0f}",
            f"[bold]{full.runs_per_second / empty.runs_per_second:.2f}[/]",
        )
    for name in found.memory_empty_bytes:
        sizes = (found.memory_empty_bytes[name], found.memory_full_bytes.get(name, 0))
        table.add_row(f"MiB, {name}", *(f"{size / 2**20:.0f}" for size in sizes), "")
    table.add_row("a page of 20 runs, ms", "", f"{found.page_milliseconds:.1f}", "")
    table.add_row("GB in the log; in PostgreSQL", f"{found.log_bytes / 1e9:.2f}", f"{found.table_bytes / 1e9:.2f}", "")
    return table


def _peers(found: Report) -> Table:
    table = _table("Peers", "", "durable", "conns", "runs/s", "p50 ms", "p99 ms", "failures", "product is")
    for peer in found.extras.peers:
        ours = [
            row.runs_per_second
            for row in found.rows
            if row.target == "product" and row.fsync == found.plan.fsync[0] and row.connections == peer.connections
        ]
        times = f"[bold]{ours[0] / peer.runs_per_second:,.1f}×[/]" if ours and peer.runs_per_second else ""
        table.add_row(
            f"{peer.peer} {peer.version}",
            peer.durable,
            str(peer.connections),
            f"{peer.runs_per_second:,.0f}",
            f"{peer.p50_milliseconds:.1f}",
            f"{peer.p99_milliseconds:.1f}",
            f"[bold red]{peer.failures}[/]" if peer.failures else "0",
            times,
        )
    return table
