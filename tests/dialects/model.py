"""What flows call while these tests run: a model of the OpenAI chat-completions protocol, and addresses that wait
until they are let go (`/held/…`) or are out of service (any other).

One server of threads on a free port of loopback, for the tests themselves block in the processes that they start.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

_HELD_SECONDS = 20.0
_NAME = re.compile(r"My name is (\w+)")

SEED_WORDS = ["Yes", ",", " I", "'m", " here", "."]
"""What FlowAI's sample is answered, cut as the seed prints it."""


class Model:
    """`asked`: every completion's request. `reasoning`: what it thinks before each answer."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.reasoning: list[str] = []
        self._gates: dict[str, threading.Event] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The server's address, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["Model"]:
        """Serve until the context is left."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield self
        self._server.shutdown()
        self._server.server_close()
        thread.join()

    @contextmanager
    def held(self) -> Iterator[str]:
        """An address that answers once the context is left."""
        name = uuid4().hex
        gate = self._gates[name] = threading.Event()
        try:
            yield f"{self.url}/held/{name}"
        finally:
            gate.set()

    def answer(self, messages: list[dict[str, str]]) -> list[str]:
        """What it says to a conversation, word by word."""
        said = messages[-1]["content"]
        if said == "Are you there?":
            return SEED_WORDS
        if said == "What is my name?":
            names = [found[1] for each in messages if (found := _NAME.search(each["content"]))]
            return ["Your name is ", f"{names[-1]}."] if names else ["You did not ", "tell me."]
        return ["You said: ", said]

    def wait(self, name: str) -> None:
        """Until the address of this name is let go."""
        self._gates[name].wait(_HELD_SECONDS)


def _handler(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, kind, *name = self.path.split("/")
            if kind == "held":
                model.wait(name[0])
            with suppress(ConnectionError):  # who asked may have been cancelled
                self._head("text/plain", 200 if kind == "held" else 503)
                self.wfile.write(b"let go")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model.asked.append(asked)
            words = model.answer(asked["messages"])
            self._head("text/event-stream")
            for delta in [{"reasoning_content": text} for text in model.reasoning] + [{"content": w} for w in words]:
                self._chunk(asked["model"], [{"index": 0, "delta": delta, "finish_reason": None}])
            self._chunk(asked["model"], [{"index": 0, "delta": {}, "finish_reason": "stop"}])
            self._chunk(asked["model"], [], usage={"prompt_tokens": 40, "completion_tokens": 5, "total_tokens": 45})
            self.wfile.write(b"data: [DONE]\n\n")

        def _head(self, content_type: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.end_headers()

        def _chunk(self, name: str, choices: list[Any], **more: Any) -> None:
            chunk = {"object": "chat.completion.chunk", "model": name, "choices": choices, **more}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Nothing: what is asked is kept in `asked`."""

    return Handler
