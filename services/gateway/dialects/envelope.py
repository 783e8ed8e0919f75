"""What dialects share: their errors have the seed's envelope, and a failed run is an error of ours (500) to them."""

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from libs.edge.problems import Problem
from libs.edge.run_events import RUN_HEADER
from libs.events.run import Run

Render = Callable[[Problem, str], web.Response]


def envelope(make: Callable[[Problem, str], dict[str, Any]]) -> Render:
    """A renderer of problems as `make(problem, request_id)` says."""

    def render(problem: Problem, request_id: str) -> web.Response:
        body = msgspec.json.encode(make(problem, request_id))
        return web.Response(status=problem.status, body=body, content_type="application/json", headers=problem.headers)

    return render


def must_have_completed(run: Run) -> Run:
    """The run, or its failure as a problem with status 500; its code and node go into the envelope."""
    if run.status == "completed":
        return run
    if run.error is not None:
        raise RunProblem(run, run.error.code, run.error.message)
    raise RunProblem(run, "cancelled", "The run was cancelled.")


class RunProblem(Problem):
    """A run that did not complete. `code` is the run's own, such as `node_timeout`."""

    def __init__(self, run: Run, code: str, message: str) -> None:
        super().__init__("unavailable", message, status=500, headers={RUN_HEADER: run.id})
        self.headers.pop("Retry-After", None)
        self.run_code = code
        self.run = run


def code_of(problem: Problem) -> str:
    """The code that a dialect shows."""
    return problem.run_code if isinstance(problem, RunProblem) else problem.code
