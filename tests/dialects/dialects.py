"""The dialects as a table: where each is called, how it says `text`, where its answers and its errors have what."""

from collections.abc import Callable
from typing import Any

import msgspec
import requests

from tests.dialects.caller import Caller


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One way of calling. `path` has the id as `{}`; `body` makes a body of the field `text`."""

    name: str
    path: str
    body: Callable[[str], dict[str, Any]]
    output: Callable[[dict[str, Any]], Any]
    error_keys: frozenset[str]
    message: str
    """The member of an error that says what is wrong."""
    job: bool = False
    """Whether the answer is a receipt."""

    def at(self, id_or_flow: str) -> str:
        return self.path.format(id_or_flow)

    def finished(self, caller: Caller, answer: requests.Response) -> Any:
        """The output that an answer has, or that its job comes to."""
        if not self.job:
            assert answer.status_code == 200, answer.text
            return self.output(answer.json())
        assert answer.status_code == 202, answer.text
        return self.output(caller.until(answer.headers["Location"], "completed"))

    def error(self, answer: requests.Response, status: int, code: str) -> str:
        """The message of an error, after a look at everything else of it."""
        assert answer.status_code == status, answer.text
        body = answer.json()
        assert set(body) == self.error_keys, body
        assert body["code"] == code, body
        assert body.get("status", "error") == "error"
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Request-Id"]
        message: str = body[self.message]
        return message


AICUFLOW = Dialect(
    name="aicuflow",
    path="/node/deployment-trigger/{}/",
    body=lambda text: {"input_data": {"text": text}},
    output=lambda answer: answer["data"]["output_data"],
    error_keys=frozenset({"status", "message", "code"}),
    message="message",
)
EVALIGO = Dialect(
    name="evaligo",
    path="/public/v1/flows/execute/{}",
    body=lambda text: {"text": text},
    output=lambda job: job["result"]["output"],
    error_keys=frozenset({"error", "code", "details"}),
    message="error",
    job=True,
)
LANGFLOW = Dialect(
    name="langflow",
    path="/langflow/api/v1/flows/{}/run",
    body=lambda text: {"input_value": text},
    output=lambda answer: answer["result"]["output"],
    error_keys=frozenset({"detail", "code"}),
    message="detail",
)
LANGFLOW_SERVER = msgspec.structs.replace(
    LANGFLOW,
    name="langflow-server",
    path="/api/v1/run/{}",
    output=lambda answer: answer["outputs"][0]["outputs"][0]["results"]["message"]["text"],
)
FLOWAI = Dialect(
    name="flowai",
    path="/v1/api/workflow/run/{}",
    body=lambda text: {"input": {"text": text}},
    output=lambda answer: answer["output"],
    error_keys=frozenset({"error", "code"}),
    message="error",
)
FLUXPROMPT = Dialect(
    name="fluxprompt",
    path="/flux/api-v2?flowId={}",
    body=lambda text: {"variableInputs": [{"inputId": "text", "inputText": text}]},
    output=lambda answer: answer["output"],
    error_keys=frozenset({"status", "message", "code", "requestId"}),
    message="message",
)

WAITING = (AICUFLOW, LANGFLOW, LANGFLOW_SERVER, FLOWAI, FLUXPROMPT)
"""Those whose call is answered with the result."""

ALL = (*WAITING, EVALIGO)
