"""What dialects share: their errors have the seed's envelope, and a failed run is an error of ours (500) to them."""

from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web

from libs.edge.problems import Problem
from libs.events.run import Run

Render = Callable[[Problem, str], web.Response]


class RunProblem(Problem):
    """A run that did not complete. `run_code` is the run's own code, such as `node_timeout`."""

    def __init__(self, code: str, message: str, headers: Mapping[str, str]) -> None:
        super().__init__("unavailable", message, status=500)
        # Not `Retry-After`: the run has ended, and the same Idempotency-Key would only be told so again.
        self.headers = dict(headers)
        self.run_code = code

    @property
    def reason(self) -> str:
        """No error of ours: the run was carried out."""
        return "run_failed"


def envelope(make: Callable[[Problem, str], msgspec.Struct]) -> Render:
    """A renderer of problems as `make(problem, request_id)` says."""

    def render(problem: Problem, request_id: str) -> web.Response:
        body = msgspec.json.encode(make(problem, request_id))
        return web.Response(status=problem.status, body=body, content_type="application/json", headers=problem.headers)

    return render


def must_have_completed(run: Run, headers: Mapping[str, str]) -> Run:
    """The run, or its failure as a problem with status 500; its code and message go into the envelope."""
    if run.status == "completed":
        return run
    if run.error is not None:
        raise RunProblem(run.error.code, run.error.message, headers)
    raise RunProblem("cancelled", "The run was cancelled.", headers)


def code_of(problem: Problem) -> str:
    """The code that a dialect shows."""
    return problem.run_code if isinstance(problem, RunProblem) else problem.code
