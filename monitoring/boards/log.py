"""The log and what reads it: appends, backlogs, replicas, tables."""

from monitoring.boards.queries import per_second, quantile
from monitoring.grafana import Board, Panel, Query, Row

LOG = Board(
    name="log",
    title="Log",
    rows=[
        Row(
            "Appends",
            [
                Panel(
                    title="Appends by stream",
                    queries=[Query(per_second("headgate_append_duration_seconds_count", "stream"), "{{stream}}")],
                    unit="ops",
                    stack=True,
                ),
                Panel(
                    title="How long they take (99 %)",
                    queries=[Query(quantile(0.99, "headgate_append_duration_seconds", "stream"), "{{stream}}")],
                    unit="s",
                    red_above=0.5,
                ),
                Panel(
                    title="Conflicts and failures",
                    queries=[
                        Query(per_second("headgate_append_conflicts_total", "stream"), "{{stream}}: conflict"),
                        Query(per_second("headgate_append_failures_total", "stream"), "{{stream}}: given up"),
                    ],
                    unit="ops",
                    text="A conflict is a rival who was first: a cancel, or an executor that was thought dead.",
                ),
            ],
        ),
        Row(
            "Backlogs",
            [
                Panel(
                    title="Waiting",
                    queries=[Query("headgate:consumer_pending:max", "{{consumer}} {{stream}}")],
                    stack=True,
                ),
                Panel(
                    title="The oldest that waits",
                    queries=[Query("headgate:consumer_oldest_pending_seconds:max", "{{consumer}}")],
                    unit="s",
                ),
                Panel(
                    title="In hand",
                    queries=[
                        Query("max by (stream, consumer) (headgate_consumer_unacknowledged)", "{{consumer}} {{stream}}")
                    ],
                ),
                Panel(
                    title="Given back, and given up",
                    queries=[
                        Query(per_second("headgate_messages_retried_total", "consumer"), "{{consumer}}: again"),
                        Query(per_second("headgate_dead_letters_total", "consumer"), "{{consumer}}: dead letter"),
                    ],
                    unit="ops",
                ),
            ],
        ),
        Row(
            "Copies and readings",
            [
                Panel(
                    title="Operations that replicas lack",
                    queries=[Query("max by (stream, replica) (headgate_stream_replica_lag)", "{{replica}} {{stream}}")],
                ),
                Panel(
                    title="Replicas that are not complete",
                    queries=[
                        Query(
                            "min by (stream, replica) (headgate_stream_replica_current) == 0", "{{replica}} {{stream}}"
                        )
                    ],
                ),
                Panel(
                    title="Tables behind the log",
                    queries=[
                        Query("max by (reading, stream) (headgate_projection_lag_seconds)", "{{reading}} {{stream}}"),
                    ],
                    unit="s",
                ),
                Panel(
                    title="Messages that tables lack",
                    queries=[Query("max by (reading, stream) (headgate_projection_pending)", "{{reading}} {{stream}}")],
                ),
            ],
        ),
    ],
)
