"""What HTTP edges count: requests by route, how long they took, and why those failed that failed.

A route is counted by its template, never by its path; a dialect by the name of its module. A stream is counted when
it is over and not timed, for it lasts as long as its run. `headgate_http_problems_total` has the reason, and so
tells an error of ours (`unavailable`) from a run that failed, which some dialects answer with a 500 too.
"""

from collections.abc import Callable
from typing import Any

from aiohttp import web
from prometheus_client import Counter

from libs.edge.problems import STATUS, Problem
from libs.runtime.durations import Durations

_REQUESTS = Counter(
    "headgate_http_requests_total", "Requests that were answered.", ["route", "method", "status", "dialect"]
)
_DURATIONS = Durations(
    "headgate_http_request_duration_seconds",
    "From a request's head to its answer, streams left out.",
    ["route", "method", "dialect"],
)
_PROBLEMS = Counter("headgate_http_problems_total", "Requests that were refused or failed, by reason.", ["reason"])
_BY_REASON = {reason: _PROBLEMS.labels(reason) for reason in (*STATUS, "run_failed")}
_UNROUTED = {status: _REQUESTS.labels("none", "none", f"{status}xx", "none") for status in (4, 5)}


class Meter:
    """Counts the requests of one route. Its series exist from the first request on."""

    def __init__(self, method: str, path: str, handler: Callable[..., Any]) -> None:
        dialect = handler.__module__.partition(".dialects.")[2] or "native"
        self._labels = (path, method, dialect)
        self._counts: dict[int, Counter] = {}

    def answered(self, response: web.StreamResponse, seconds: float) -> None:
        """Count one answer; a stream's is its end."""
        status = response.status // 100
        count = self._counts.get(status)
        if count is None:
            path, method, dialect = self._labels
            count = self._counts[status] = _REQUESTS.labels(path, method, f"{status}xx", dialect)
        count.inc()
        if not response.prepared:
            _DURATIONS.at(*self._labels).observe(seconds)


def failed(problem: Problem) -> None:
    """Count the reason of a request that was refused or failed."""
    _BY_REASON[problem.reason].inc()


def unrouted(problem: Problem) -> None:
    """Count a request that no route took."""
    failed(problem)
    _UNROUTED[5 if problem.status >= 500 else 4].inc()
