"""Grafana's dashboard JSON, of panels that say only what they show. Places and ids follow from the order."""

from typing import Any, Literal

import msgspec

_WIDTH = 24
_SCHEMA_VERSION = 39
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Unit = Literal["short", "s", "bytes", "percentunit", "reqps", "ops", "currencyUSD"]


class Query(msgspec.Struct, frozen=True):
    """One line or several: an expression, and what a line is called by its labels."""

    expression: str
    legend: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One picture. `stat`: the last value as a number, else lines over time. `text` says what to make of it."""

    title: str
    queries: list[Query]
    unit: Unit = "short"
    text: str = ""
    stat: bool = False
    stack: bool = False
    red_above: float | None = None


class Row(msgspec.Struct, frozen=True):
    """Panels side by side under a heading."""

    title: str
    panels: list[Panel]


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard. Its uid is `headgate-<name>` for ever: links to it hold."""

    name: str
    title: str
    rows: list[Row]


def render(board: Board) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in board.rows:
        panels.append(_heading(row.title, len(panels) + 1, y))
        y += 1
        width = _WIDTH // len(row.panels)
        height = 4 if all(panel.stat for panel in row.panels) else 8
        for place, panel in enumerate(row.panels):
            at = {"x": place * width, "y": y, "w": width, "h": height}
            panels.append(_panel(panel, len(panels) + 1, at))
        y += height
    return {
        "uid": f"headgate-{board.name}",
        "title": f"Headgate / {board.title}",
        "tags": ["headgate"],
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "links": [{"type": "dashboards", "tags": ["headgate"], "asDropdown": True, "title": "Headgate"}],
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}]
        },
        "panels": panels,
    }


def _heading(title: str, number: int, y: int) -> dict[str, Any]:
    return {"id": number, "type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1}}


def _panel(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        steps.append({"color": "red", "value": panel.red_above})
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if not panel.stat:
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stack else 5,
            "stacking": {"mode": "normal" if panel.stack else "none"},
            "thresholdsStyle": {"mode": "off" if panel.red_above is None else "line"},
        }
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.text,
        "gridPos": at,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if panel.stat else {"tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": _SOURCE, "expr": query.expression, "legendFormat": query.legend}
            for i, query in enumerate(panel.queries)
        ],
    }
