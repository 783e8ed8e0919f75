"""What flows do: runs, nodes, models. Never by flow or workspace: those are in the usage API."""

from monitoring.boards.queries import per_second, quantile
from monitoring.grafana import Board, Panel, Query, Row

FLOWS = Board(
    name="flows",
    title="Flows",
    rows=[
        Row(
            "Runs",
            [
                Panel(
                    title="How long runs take",
                    queries=[
                        Query(quantile(share, "headgate_run_duration_seconds"), f"{share:.0%}")
                        for share in (0.5, 0.95, 0.99)
                    ],
                    unit="s",
                ),
                Panel(title="Under way", queries=[Query("sum by (instance) (headgate_runs_active)", "{{instance}}")]),
            ],
        ),
        Row(
            "Nodes",
            [
                Panel(
                    title="Nodes by type",
                    queries=[Query(per_second("headgate_node_duration_seconds_count", "node_type"), "{{node_type}}")],
                    unit="ops",
                ),
                Panel(
                    title="How long they take (95 %)",
                    queries=[Query(quantile(0.95, "headgate_node_duration_seconds", "node_type"), "{{node_type}}")],
                    unit="s",
                ),
                Panel(
                    title="Failures and retries",
                    queries=[
                        Query(per_second("headgate_node_failures_total", "node_type, code"), "{{node_type}}: {{code}}"),
                        Query(per_second("headgate_node_retries_total", "node_type"), "{{node_type}}: again"),
                    ],
                    unit="ops",
                ),
            ],
        ),
        Row(
            "Models",
            [
                Panel(
                    title="How long answers take (95 %)",
                    queries=[Query(quantile(0.95, "headgate_model_call_duration_seconds", "provider"), "{{provider}}")],
                    unit="s",
                ),
                Panel(
                    title="Calls that fail",
                    queries=[Query(per_second("headgate_model_call_failures_total", "provider"), "{{provider}}")],
                    unit="ops",
                ),
                Panel(
                    title="Tokens",
                    queries=[
                        Query(
                            per_second("headgate_model_tokens_total", "provider, direction"),
                            "{{provider}} {{direction}}",
                        )
                    ],
                    unit="ops",
                ),
                Panel(
                    title="Cost an hour",
                    queries=[
                        Query(f"3600 * {per_second('headgate_model_cost_usd_total', 'provider')}", "{{provider}}")
                    ],
                    unit="currencyUSD",
                ),
            ],
        ),
    ],
)
