"""The alert rules: valid, tested one by one by `promtool`, true to what processes show, and explained to people.

`promtool` comes with Debian's package `prometheus`, which `.ci/run` installs; without it those tests are skipped.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.boards import BOARDS
from monitoring.files import COMPONENT, RULES, generated
from monitoring.grafana import render
from monitoring.rules import faster
from tests.observability.scrape import SERVICES, names, of_service
from tests.stack import Stack

TESTS = RULES.with_name("headgate.rules.test.yaml")
WATCH_IT = Path(__file__).parents[2] / "docs" / "how-to" / "watch-it.md"
OURS = re.compile(r"\bheadgate_[a-z0-9_]+\b")

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is missing")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def promtool(*words: str) -> str:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_the_rules_are_valid_and_say_yes_and_no_where_they_should() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(TESTS))


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    cases = [check for test in yaml.safe_load(TESTS.read_text())["tests"] for check in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    wanted = {alert["alert"] for alert in alerts()}
    assert fired == wanted


def test_every_alert_says_what_it_means_and_where_to_read_what_to_do() -> None:
    headings = {line.removeprefix("### ").strip() for line in WATCH_IT.read_text().splitlines() if "### " in line}
    for alert in alerts():
        name, told = alert["alert"], alert["annotations"]
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert told["summary"]
        assert told["description"]
        assert told["runbook_url"] == f"docs/how-to/watch-it.md#{name.lower()}"
        assert name in headings, f"{name} is not explained in {WATCH_IT.name}"
    assert {h for h in headings if h.startswith("Headgate")} == {alert["alert"] for alert in alerts()}


def test_what_is_made_of_the_sources_is_what_is_committed() -> None:
    for name, text in generated().items():
        assert (COMPONENT / name).read_text() == text, f"{name}: run `make monitoring`"
    made = yaml.safe_load(generated()["prometheusrule.yaml"])
    assert made["kind"] == "PrometheusRule"
    assert made["spec"] == yaml.safe_load(RULES.read_text())


def test_the_component_names_every_dashboard() -> None:
    component = yaml.safe_load((COMPONENT / "kustomization.yaml").read_text())
    (maps,) = component["configMapGenerator"]
    assert set(maps["files"]) == {name for name in generated() if name.startswith("dashboards/")}
    for name in component["resources"]:
        assert yaml.safe_load((COMPONENT / name).read_text())["kind"] in ("PodMonitor", "PrometheusRule")


def test_dashboards_have_uids_that_stay_and_panels_that_do_not_overlap() -> None:
    assert [render(board)["uid"] for board in BOARDS] == [
        "headgate-overview",
        "headgate-flows",
        "headgate-notifier",
        "headgate-log",
        "headgate-capacity",
    ]
    for board in BOARDS:
        panels = render(board)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [cell for panel in panels for cell in _cells(panel["gridPos"])]
        assert len(cells) == len(set(cells)), board.name
        assert max(x for x, _ in cells) < 24


@needs_promtool
def test_every_query_of_a_dashboard_is_one(tmp_path: Path) -> None:
    queries = [expression.replace("$__rate_interval", "1m") for _, expression in _dashboard_queries()]
    recorded = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": recorded}]}))
    promtool("check", "rules", str(file))


def test_every_metric_that_is_named_is_one_that_a_process_shows(stack: Stack) -> None:
    shown = {name for service in SERVICES for name in names(of_service(stack, service))}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for place, expression in [*_dashboard_queries(), *((RULES.name, rule["expr"]) for rule in rules())]:
        for name in OURS.findall(expression):
            assert name in shown, f"{place}: no process shows {name}"
        for name in re.findall(r"\bheadgate:[a-z0-9_:]+", expression):
            assert name in recorded, f"{place}: no rule records {name}"


def test_a_faster_clock_changes_the_times_and_nothing_else() -> None:
    text = "    interval: 30s\n  - expr: rate(a_total[5m]) > 14.4 * 0.001 and b > 60\n    for: 2m\n"
    assert (
        faster(text, 60, 1) == "    interval: 1s\n  - expr: rate(a_total[5s]) > 14.4 * 0.001 and b > 60\n    for: 2s\n"
    )
    slow, fast = (yaml.safe_load(each) for each in (RULES.read_text(), faster(RULES.read_text(), 60, 1)))
    assert [g["name"] for g in slow["groups"]] == [g["name"] for g in fast["groups"]]
    assert all(rule["for"].endswith("s") for g in fast["groups"] for rule in g["rules"] if "alert" in rule)


def _dashboard_queries() -> list[tuple[str, str]]:
    return [
        (f"{board.name}: {panel['title']}", target["expr"])
        for board in BOARDS
        for panel in render(board)["panels"]
        for target in panel.get("targets", ())
    ]


def _cells(at: dict[str, int]) -> list[tuple[int, int]]:
    return [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
