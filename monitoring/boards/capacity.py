"""What it takes, and how much of that is left."""

from monitoring.boards.queries import RATE, per_second, quantile
from monitoring.grafana import Board, Panel, Query, Row

_MINE = 'job="headgate"'

CAPACITY = Board(
    name="capacity",
    title="Capacity",
    rows=[
        Row(
            "Processes",
            [
                Panel(
                    title="Cores used",
                    queries=[Query(f"rate(headgate_process_cpu_seconds_total[{RATE}])", "{{instance}}")],
                    text="A process uses one core at most: near 1, add processes.",
                    red_above=0.9,
                ),
                Panel(
                    title="Memory",
                    queries=[Query("headgate_process_resident_memory_bytes", "{{instance}}")],
                    unit="bytes",
                ),
                Panel(
                    title="Event loop: how late (99 %)",
                    queries=[Query("headgate:event_loop_lag_seconds:p99_rate5m", "{{instance}}")],
                    unit="s",
                    red_above=0.25,
                ),
                Panel(
                    title="Open files",
                    queries=[Query("headgate_process_open_fds / headgate_process_max_fds", "{{instance}}")],
                    unit="percentunit",
                    red_above=0.8,
                ),
            ],
        ),
        Row(
            "Disk",
            [
                Panel(
                    title="Bytes by stream",
                    queries=[Query("max by (stream) (headgate_stream_bytes)", "{{stream}}")],
                    unit="bytes",
                    stack=True,
                ),
                Panel(
                    title="The log, and what it may take",
                    queries=[
                        Query("max(headgate_log_storage_bytes)", "used"),
                        Query("max(headgate_log_storage_limit_bytes > 0)", "limit"),
                    ],
                    unit="bytes",
                ),
                Panel(
                    title="Free on the disk",
                    queries=[
                        Query("min(headgate_disk_free_bytes)", "data directory"),
                        Query(
                            'kubelet_volume_stats_available_bytes{persistentvolumeclaim=~".*(jetstream|nats).*"}',
                            "{{persistentvolumeclaim}}",
                        ),
                    ],
                    unit="bytes",
                ),
            ],
        ),
        Row(
            "Keys and connections",
            [
                Panel(
                    title="Answers of auth (99 %)",
                    queries=[Query(quantile(0.99, "headgate_auth_request_seconds", "call"), "{{call}}")],
                    unit="s",
                ),
                Panel(
                    title="Verifications",
                    queries=[Query(per_second("headgate_key_verifications_total", "outcome"), "{{outcome}}")],
                    unit="ops",
                    text="Gateways keep an answer for 30 s, so these are fewer than requests.",
                ),
                Panel(
                    title="Processes by version",
                    queries=[Query("count by (service, version) (headgate_build_info)", "{{service}} {{version}}")],
                    stack=True,
                ),
                Panel(
                    title="Connected",
                    queries=[
                        Query(f"min by (instance) (headgate_broker_connected{{{_MINE}}})", "{{instance}}: NATS"),
                        Query(f"min by (instance) (headgate_database_up{{{_MINE}}})", "{{instance}}: PostgreSQL"),
                    ],
                ),
            ],
        ),
    ],
)
