"""What goes out: streams, webhooks, callbacks, email."""

from monitoring.boards.queries import per_second, quantile
from monitoring.grafana import Board, Panel, Query, Row

NOTIFIER = Board(
    name="notifier",
    title="Notifier",
    rows=[
        Row(
            "Deliveries",
            [
                Panel(
                    title="Attempts by channel and outcome",
                    queries=[
                        Query(per_second("headgate_deliveries_total", "channel, outcome"), "{{channel}}: {{outcome}}")
                    ],
                    unit="ops",
                ),
                Panel(
                    title="How long an attempt takes (95 %)",
                    queries=[
                        Query(quantile(0.95, "headgate_delivery_attempt_duration_seconds", "channel"), "{{channel}}")
                    ],
                    unit="s",
                ),
                Panel(
                    title="Waiting for a notifier",
                    queries=[
                        Query('headgate:consumer_pending:max{consumer=~"notifier-.+"}', "{{consumer}} {{stream}}"),
                        Query("sum(headgate_delivery_attempts_active)", "under way"),
                    ],
                    stack=True,
                ),
            ],
        ),
        Row(
            "Streams",
            [
                Panel(
                    title="Open event streams",
                    queries=[Query("sum by (instance) (headgate_streams_open)", "{{instance}}")],
                    stack=True,
                ),
                Panel(
                    title="Streams that were begun",
                    queries=[
                        Query(
                            per_second("headgate_http_requests_total", "status", 'route="/v1/runs/{run_id}/events"'),
                            "{{status}}",
                        )
                    ],
                    unit="ops",
                    text="Counted when they end; lists of events are among them.",
                ),
            ],
        ),
    ],
)
