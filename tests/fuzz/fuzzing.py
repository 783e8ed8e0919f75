"""Sends what schemathesis makes of each documented operation, good and bad, and holds every answer to the document."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import hypothesis
import msgspec
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.generation import GenerationMode

from tests.api.contract import Contract

_TIMEOUT_SECONDS = 30.0
_KEPT = 50
_CREDENTIALS = ("authorization", "x-api-key", "api-key")


class Tally(msgspec.Struct):
    """What came of one operation."""

    requests: int = 0
    statuses: Counter[int] = msgspec.field(default_factory=Counter)


class Fuzz:
    """Everything that was sent, and what was wrong with the answers. `ids`: real ones, by the parameters' names."""

    def __init__(self, url: str, key: str, document: dict[str, Any], ids: dict[str, str]) -> None:
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.faults: list[str] = []
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._contract = Contract(document)
        self._ids = ids
        schema = schemathesis.openapi.from_dict(document)
        self._operations = [result.ok() for result in schema.get_all_operations()]
        self._session = requests.Session()

    @property
    def requests(self) -> int:
        """How many were sent."""
        return sum(tally.requests for tally in self.tallies.values())

    def run(self, examples: int, seed: int, on_request: Callable[[], None] = lambda: None, until: int = 10**9) -> None:
        """Send `examples` of what fits and as many of what does not, for each operation; at most `until` in all."""
        chance = random.Random(seed)
        for operation in self._operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if self.requests >= until:
                    return
                self._ask(operation, mode, examples, chance, on_request)

    def _ask(
        self, operation: Any, mode: GenerationMode, examples: int, chance: random.Random, on_request: Callable[[], None]
    ) -> None:
        @hypothesis.seed(chance.getrandbits(64))
        @hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            on_request()
            self._send(operation, case, chance)

        try:
            send()
        except hypothesis.errors.Unsatisfiable:
            return  # nothing can be wrong about an operation without parameters and body

    def _send(self, operation: Any, case: Any, chance: random.Random) -> None:
        method, template = operation.method.upper(), operation.path
        harmless = method in ("GET", "POST", "PUT", "PATCH") and not template.endswith(("/undeploy", "/rotate"))
        if case.headers and chance.random() < 0.9:
            # Other keys than ours end most calls before they begin.
            case.headers = {n: v for n, v in case.headers.items() if n.lower() not in _CREDENTIALS}
        if harmless and chance.random() < 0.7 and case.path_parameters:
            case.path_parameters.update({n: self._ids[n] for n in case.path_parameters if n in self._ids})
        tally = self.tallies[f"{method} {template}"]
        tally.requests += 1
        try:
            answer = case.call(
                base_url=self._url, headers=self._headers, session=self._session, timeout=_TIMEOUT_SECONDS
            )
        except requests.exceptions.InvalidHeader:
            tally.statuses[0] += 1  # cannot be sent at all
            return
        except Exception as error:  # noqa: BLE001  # no answer is the worst one
            self._wrong(f"{method} {template}: {type(error).__name__}: {str(error)[:300]}")
            return
        tally.statuses[answer.status_code] += 1
        self._check(operation, method, answer)

    def _check(self, operation: Any, method: str, answer: Any) -> None:
        headers = {name.title(): values[0] for name, values in answer.headers.items()}
        path, status, body = answer.request.url.removeprefix(self._url), answer.status_code, answer.request.body
        if status >= 500:
            self._wrong(f"{method} {path[:300]} {str(body)[:500]} → {status} {answer.content[:300]!r}")
        elif "dialects" not in operation.tags:
            try:
                self._contract.check(method, path, status, headers, answer.content)
            except AssertionError as error:
                self._wrong(f"{str(error)[:600]} {str(body)[:300]}")

    def _wrong(self, fault: str) -> None:
        if len(self.faults) < _KEPT:
            self.faults.append(fault)
