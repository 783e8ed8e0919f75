"""The outside, as egress reaches it."""

from tests.egress.conftest import egress, serve

__all__ = ["egress", "serve"]
