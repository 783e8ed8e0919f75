"""One stack for the whole folder; its workspace has no limits, and each test's flows are its own."""

from collections.abc import Iterator

import pytest

from tests.dialects.caller import Caller, Deployed
from tests.dialects.documents import repeating
from tests.dialects.model import Model
from tests.stack import Stack

MAX_BODY_BYTES = 512 * 1024


@pytest.fixture(scope="package")
def model() -> Iterator[Model]:
    """Where the stack looks for the provider `openai`."""
    with Model().running() as running:
        yield running


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    env = {
        "HEADGATE_FSYNC": "interval",
        "HEADGATE_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "OPENAI_BASE_URL": f"{model.url}/v1",
        "OPENAI_API_KEY": "sk-of-the-model-server",
    }
    with Stack(tmp_path_factory.mktemp("dialects"), env=env) as running:
        yield running


@pytest.fixture(scope="package")
def admin(stack: Stack) -> Caller:
    """The admin of the stack's workspace."""
    return Caller(stack.url, stack.admin_key)


@pytest.fixture(scope="package")
def repeater(admin: Caller) -> Deployed:
    """A deployment of `repeating`, for tests that change nothing about it."""
    return admin.deploy(repeating())
