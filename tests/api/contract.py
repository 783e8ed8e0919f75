"""What every answer is held to: the service's own OpenAPI document, and the closed list of problem codes."""

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

from libs.edge.problems import Code

CODES = frozenset(get_args(Code))
_PARAMETER = re.compile(r"{\w+}")


class Contract:
    """Which answers the document allows; `seen` gathers those that were given."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, str, int]] = set()
        self._paths = [(_pattern(path), path) for path in document["paths"]]

    @property
    def operations(self) -> list[tuple[str, str]]:
        """Every documented method and path template, but for the dialects: they answer in words of their own."""
        return [
            (method.upper(), path)
            for path, item in self.document["paths"].items()
            for method, operation in item.items()
            if "dialects" not in operation["tags"]
        ]

    def template(self, method: str, path: str) -> str | None:
        """The documented path that a request's path is one of; None when there is none with this method."""
        bare = path.partition("?")[0]
        matches = [template for pattern, template in self._paths if pattern.fullmatch(bare)]
        matches.sort(key=lambda template: template.count("{"))
        return next((each for each in matches if method.lower() in self.document["paths"][each]), None)

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Fail unless the answer has an id, is documented, and is a well-formed problem where it is an error."""
        what = f"{method} {path[:200]} → {status} {body[:500]!r}"
        assert headers.get("X-Request-Id"), f"no X-Request-Id: {what}"
        assert status < 500, f"a fault of ours: {what}"
        template = self.template(method, path)
        if template is not None:
            self.seen.add((method, template, status))
            documented = self.document["paths"][template][method.lower()]["responses"]
            assert str(status) in documented, f"{status} is not documented for {template}: {what}"
        if status >= 400:
            check_problem(status, headers, body, what)


def check_problem(status: int, headers: Mapping[str, str], body: bytes, what: str) -> dict[str, Any]:
    """Fail unless an error is an RFC 9457 problem of ours; the problem."""
    assert headers["Content-Type"].startswith("application/problem+json"), what
    problem: dict[str, Any] = json.loads(body)
    assert problem["code"] in CODES, what
    assert problem["status"] == status, what
    assert problem["request_id"] == headers["X-Request-Id"], what
    assert problem["title"], what
    assert problem["detail"], what
    assert problem["type"].endswith(f"#{problem['code']}"), what
    return problem


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)
    return re.compile("[^/]+".join(map(re.escape, parts)))
