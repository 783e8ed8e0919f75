"""What the auth service counts. Label values come from closed sets: outcomes, and the names of the calls."""

from prometheus_client import Counter, Gauge, Histogram

VERIFICATIONS = Counter(
    "headgate_key_verifications_total",
    "Keys that were asked about, by what became of it (malformed: no key that was ever issued).",
    ["outcome"],
)
KEYS = Gauge("headgate_keys", "Keys that exist in all workspaces, active or not.")
REQUEST_SECONDS = Histogram(
    "headgate_auth_request_seconds",
    "From the arrival of a request to its answer.",
    ["call"],
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0),
)
