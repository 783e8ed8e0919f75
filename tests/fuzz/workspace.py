"""Where is fuzzed: a stack with a workspace of its own, which has one of everything, and what must be so afterwards."""

import json
import time
import urllib.request
from typing import Any

from tests.flows.documents import greeter
from tests.fuzz.fuzzing import Fuzz
from tests.stack import Stack

_REST_SECONDS = 60.0


def asked(url: str, key: str, method: str = "GET", body: Any = None) -> Any:
    """One call that has to succeed; its JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {key}"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class Workspace:
    """The workspace and the stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._pids = self._processes()
        self._deployment = ""
        wish = {"name": "fuzzed", "plan": "enterprise"}
        self._key: str = asked(f"{stack.url}/v1/workspaces", stack.admin_key, "POST", wish)["admin_key"]

    def fuzz(self) -> Fuzz:
        """Ready to go."""
        document = asked(f"{self._stack.url}/openapi.json", self._key)
        return Fuzz(self._stack.url, self._key, document, self._things())

    def troubles(self) -> list[str]:
        """What is wrong afterwards: a process that ended, a run that does not, a call that fails."""
        found = [] if self._processes() == self._pids else ["a process ended and was started again"]
        deadline = time.monotonic() + _REST_SECONDS
        while stuck := self._open_runs():
            if time.monotonic() > deadline:
                found.append(f"{len(stuck)} runs do not end: {stuck[:5]}")
                break
            time.sleep(0.2)
        flow = self._post("/v1/flows", {**greeter(), "slug": f"still-well-{time.monotonic_ns()}"})
        self._deployment = self._post(f"/v1/flows/{flow['id']}/deployments", {})["id"]
        run = self._post("/v1/deployments/{deployment_id}/runs", {"input": {"name": "Ada"}})
        if run["output"] != "Hello, Ada!":
            found.append(f"a good call is answered {run}")
        return found

    def _things(self) -> dict[str, str]:
        flow = self._post("/v1/flows", {**greeter(), "slug": "for-fuzzing"})
        self._deployment = self._post(f"/v1/flows/{flow['id']}/deployments", {})["id"]
        run = self._post("/v1/deployments/{deployment_id}/runs", {"input": {"name": "Ada"}, "session_id": "s1"})
        batch = self._post("/v1/deployments/{deployment_id}/batch", {"inputs": [{"name": "Ada"}]})
        key = self._post("/v1/keys", {"name": "x", "permissions": ["read"]})
        self._post("/v1/collections", {"name": "things"})
        wish = {"url": "http://127.0.0.1:18999/", "events": ["flow_completed"]}
        webhook = self._post("/v1/webhooks", wish)
        return {
            "flow_id": flow["id"],
            "workflow_id": flow["id"],
            "deployment_id": self._deployment,
            "version": "1",
            "run_id": run["id"],
            "job_id": run["id"],
            "session_id": "s1",
            "batch_id": batch["batch_id"],
            "key_id": key["id"],
            "name": "things",
            "webhook_id": webhook["id"],
        }

    def _post(self, path: str, body: Any) -> Any:
        return asked(self._stack.url + path.replace("{deployment_id}", self._deployment), self._key, "POST", body)

    def _open_runs(self) -> list[str]:
        found: list[str] = []
        for status in ("queued", "running"):
            page = asked(f"{self._stack.url}/v1/runs?status={status}&limit=100", self._key)
            found += [run["id"] for run in page["data"]]
        return found

    def _processes(self) -> list[tuple[str, int]]:
        return sorted((each["service"], each["pid"]) for each in self._stack.processes())
