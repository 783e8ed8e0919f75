"""Whether it does, at one look."""

from monitoring.boards.queries import per_second, quantile
from monitoring.grafana import Board, Panel, Query, Row

OVERVIEW = Board(
    name="overview",
    title="Overview",
    rows=[
        Row(
            "Now",
            [
                Panel(
                    title="Processes that do not answer",
                    queries=[Query('count(up{job="headgate"} == 0) or vector(0)')],
                    stat=True,
                    red_above=1,
                ),
                Panel(
                    title="Errors of ours, last hour",
                    queries=[Query("headgate:http_errors:ratio_rate1h")],
                    unit="percentunit",
                    stat=True,
                    red_above=0.0144,
                    text="Of all requests; red where a month's budget of 0.1 % would be gone in two days.",
                ),
                Panel(
                    title="Oldest waiting run",
                    queries=[Query('headgate:consumer_oldest_pending_seconds:max{consumer="executors"}')],
                    unit="s",
                    stat=True,
                    red_above=60,
                ),
                Panel(title="Dead letters", queries=[Query("headgate:dead_letters:max")], stat=True, red_above=1),
                Panel(title="Runs under way", queries=[Query("sum(headgate_runs_active)")], stat=True),
            ],
        ),
        Row(
            "Calls",
            [
                Panel(
                    title="Requests by status",
                    queries=[Query(per_second("headgate_http_requests_total", "status"), "{{status}}")],
                    unit="reqps",
                    stack=True,
                ),
                Panel(
                    title="Refused or failed, by reason",
                    queries=[Query(per_second("headgate_http_problems_total", "reason"), "{{reason}}")],
                    unit="reqps",
                    text="`unavailable` is an error of ours, `run_failed` a flow's.",
                ),
                Panel(
                    title="Calls by dialect",
                    queries=[Query(per_second("headgate_http_requests_total", "dialect"), "{{dialect}}")],
                    unit="reqps",
                ),
            ],
        ),
        Row(
            "Runs",
            [
                Panel(
                    title="Runs by outcome",
                    queries=[Query(per_second("headgate_runs_total", "outcome"), "{{outcome}}")],
                    unit="ops",
                    stack=True,
                ),
                Panel(
                    title="Waiting before an executor takes them",
                    queries=[
                        Query(quantile(0.5, "headgate_run_wait_seconds"), "half"),
                        Query(quantile(0.99, "headgate_run_wait_seconds"), "99 %"),
                    ],
                    unit="s",
                    red_above=1,
                ),
                Panel(
                    title="Refused by a limit",
                    queries=[Query(per_second("headgate_admissions_refused_total", "limit"), "{{limit}}")],
                    unit="ops",
                ),
            ],
        ),
    ],
)
