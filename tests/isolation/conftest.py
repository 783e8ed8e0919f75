"""One stack for the folder, in it two workspaces, one of which has one of everything."""

from collections.abc import Iterator

import pytest

from tests.api.client import Caller
from tests.api.conftest import contract, new_workspace, root, stranger
from tests.stack import Stack

__all__ = ["contract", "root", "stranger"]


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("isolation"), gateways=2, env={"HEADGATE_FSYNC": "interval"}) as stack:
        yield stack


@pytest.fixture
async def owner(root: Caller) -> Caller:
    """The admin of a workspace."""
    return await new_workspace(root, "mine")
