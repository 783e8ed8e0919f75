"""What everybody counts who uses the log: appends, messages taken and given up, the connection, runs that ended.

How long the consumers' backlogs are is not counted here but asked of the server (`libs.events.watch`).
"""

from prometheus_client import Counter, Gauge

from libs.runtime.durations import Durations

APPENDS = Durations(
    "headgate_append_duration_seconds", "From an append to its being on disk, tries included.", ["stream"]
)
CONFLICTS = Counter(
    "headgate_append_conflicts_total", "Appends that were refused because somebody else was first.", ["stream"]
)
APPENDS_FAILED = Counter("headgate_append_failures_total", "Appends that were given up without an answer.", ["stream"])

RETRIED = Counter("headgate_messages_retried_total", "Messages that a handler gave back for another try.", ["consumer"])
BURIED = Counter("headgate_dead_letters_total", "Messages that no handler could take.", ["consumer"])

CONNECTED = Gauge("headgate_broker_connected", "Whether this process is connected to NATS: 1 or 0.")
RECONNECTS = Counter("headgate_broker_reconnects_total", "Connections to NATS that were made again after one broke.")

_RUNS = Counter("headgate_runs_total", "Runs that this process brought to an end.", ["outcome"])
ENDED = {outcome: _RUNS.labels(outcome) for outcome in ("completed", "failed", "cancelled")}
