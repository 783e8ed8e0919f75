"""Which files are made of what."""

import json
from pathlib import Path

from monitoring.boards import BOARDS
from monitoring.grafana import render
from monitoring.rules import as_operator_resource

COMPONENT = Path(__file__).parents[1] / "k8s" / "components" / "monitoring"
RULES = COMPONENT / "headgate.rules.yaml"
"""Written by hand; everything else about rules is made of it."""


def generated() -> dict[str, str]:
    """The text of every generated file, by its path below the component."""
    boards = {
        f"dashboards/{board.name}.json": json.dumps(render(board), indent=2, ensure_ascii=False) + "\n"
        for board in BOARDS
    }
    return {"prometheusrule.yaml": as_operator_resource(RULES.read_text()), **boards}
