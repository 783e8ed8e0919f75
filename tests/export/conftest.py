"""A server to call."""

from collections.abc import AsyncIterator

import pytest

from tests.export.target import Target, serving


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """A server of its own for each test."""
    async with serving() as running:
        yield running
