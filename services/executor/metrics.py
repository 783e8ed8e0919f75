"""What executors count. Label values come from closed sets: node types, codes of failures, configured providers."""

from prometheus_client import Counter, Gauge

from libs.flows.nodes import NODE_TYPES
from libs.runtime.durations import Durations

ACTIVE = Gauge("headgate_runs_active", "Runs that this executor holds now.")
PUT_DOWN = Counter("headgate_runs_put_down_total", "Times that a run which waits was put down.")
RUN_WAIT_SECONDS = Durations(
    "headgate_run_wait_seconds", "From a run's being stored to an executor's taking it, batches left out."
).at()
RUN_SECONDS = Durations("headgate_run_duration_seconds", "From a run's start to its end.").at()
TYPE_OF = {node: name for name, node in NODE_TYPES.items()}
_node_seconds = Durations(
    "headgate_node_duration_seconds", "From a node's last start to its end, by its type.", ["node_type"]
)
NODE_SECONDS = {node: _node_seconds.at(name) for node, name in TYPE_OF.items()}
"""By the node's class: each run looks here for each of its nodes."""

NODE_FAILURES = Counter("headgate_node_failures_total", "Nodes that failed for good.", ["node_type", "code"])
NODE_RETRIES = Counter("headgate_node_retries_total", "Attempts at nodes that failed and come again.", ["node_type"])

MODEL_SECONDS = Durations(
    "headgate_model_call_duration_seconds", "From a call of a model to the end of its answer.", ["provider"]
)
MODEL_FAILURES = Counter("headgate_model_call_failures_total", "Calls of models that failed.", ["provider"])
TOKENS = Counter("headgate_model_tokens_total", "Tokens that models took in and gave out.", ["provider", "direction"])
COST = Counter("headgate_model_cost_usd_total", "What models cost, by the price table, in US dollars.", ["provider"])
