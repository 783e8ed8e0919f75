"""A caller of one stack with one key, over HTTP as any client has it; nothing is retried, no redirect is followed."""

import time
from typing import Any

import msgspec
import requests

from tests.dialects.documents import Document

_CALL_SECONDS = 20.0
_PAUSE_SECONDS = 0.02


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment, its flow, and the key that is for it alone."""

    id: str
    flow_id: str
    slug: str
    key: str


class Caller:
    """`caller.post(path, body)`. `having` is the same caller with another key; an empty one is none."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self._session = requests.Session()
        self._session.trust_env = False

    def having(self, key: str) -> "Caller":
        """Another caller of the same stack."""
        return Caller(self.url, key)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """One call; `body` is sent as JSON, `data` as it is."""
        keyed = {"X-API-Key": self.key} if self.key else {}
        return self._session.request(
            method,
            self.url + path,
            data=msgspec.json.encode(body) if body is not None else data,
            headers=keyed if headers is None else headers,
            timeout=_CALL_SECONDS,
            allow_redirects=False,
            stream=stream,
        )

    def post(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.call("POST", path, body, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.call("GET", path, **more)

    def made(self, path: str, body: Any) -> dict[str, Any]:
        """What a management call made."""
        answer = self.post(path, body)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def deploy(self, document: Document, **options: Any) -> Deployed:
        """Save a flow and deploy it."""
        saved = self.made("/v1/flows", document)
        deployed = self.made(f"/v1/flows/{saved['id']}/deployments", options)
        return Deployed(id=deployed["id"], flow_id=saved["id"], slug=saved["slug"], key=deployed["api_key"])

    def made_run(self, deployment_id: str, text: str) -> str:
        """The id of a run that was asked for natively and nobody waits for."""
        body = {"input": {"text": text}, "mode": "async"}
        answer = self.post(f"/v1/deployments/{deployment_id}/runs", body)
        assert answer.status_code == 202, answer.text
        return answer.headers["Headgate-Run-Id"]

    def key_with(self, *permissions: str, **more: Any) -> str:
        """The secret of a new key."""
        key: str = self.made("/v1/keys", {"name": "a test's", "permissions": permissions, **more})["key"]
        return key

    def workspace(self, **limits: int) -> "Caller":
        """The admin of a new workspace."""
        body = {"name": "a test's", "plan": "enterprise", "limits": limits}
        return self.having(self.made("/v1/workspaces", body)["admin_key"])

    def until(self, path: str, *statuses: str) -> dict[str, Any]:
        """What `path` answers once its `status` is one of these."""
        deadline = time.monotonic() + _CALL_SECONDS
        while True:
            answer = self.get(path)
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            if found["status"] in statuses:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(_PAUSE_SECONDS)
