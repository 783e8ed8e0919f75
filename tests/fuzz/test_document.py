"""The whole API, briefly: nothing that is sent is answered 5xx, in other words than documented, or not at all."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.documents import documents, values
from tests.fuzz.workspace import Workspace
from tests.stack import Stack

_EXAMPLES = 3


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("fuzz"), env={"HEADGATE_FSYNC": "interval"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def workspace(stack: Stack) -> Workspace:
    return Workspace(stack)


def test_whatever_is_sent_is_answered_as_documented(workspace: Workspace) -> None:
    fuzz = workspace.fuzz()
    fuzz.run(_EXAMPLES, seed=1)
    assert fuzz.faults == []
    assert fuzz.requests > 300
    assert workspace.troubles() == []


def test_whatever_flow_is_run_ends(stack: Stack, workspace: Workspace) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {stack.admin_key}"
    ended: list[str] = []
    numbers = itertools.count()

    @settings(max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(documents(effects=False), values)
    def run(document: dict[str, Any], value: Any) -> None:
        slug = f"made-{next(numbers)}"
        saved = session.post(f"{stack.url}/v1/flows", json={**document, "slug": slug}, timeout=20)
        assert saved.status_code in (201, 400), saved.text
        if saved.status_code == 400:
            return
        deployed = session.post(f"{stack.url}/v1/flows/{saved.json()['id']}/deployments", json={}, timeout=20)
        assert deployed.status_code == 201, deployed.text
        url = f"{stack.url}/v1/deployments/{deployed.json()['id']}/runs"
        for given_input in ({"name": value}, {}):
            answer = session.post(url, json={"input": given_input}, timeout=20)
            assert answer.status_code in (200, 400), answer.text
            if answer.status_code == 200:
                ended.append(answer.json()["status"])

    run()
    assert set(ended) <= {"completed", "failed"}
    assert len(ended) > 5
    assert workspace.troubles() == []
