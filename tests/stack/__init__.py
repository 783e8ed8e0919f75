"""A whole Headgate for tests: real processes, real servers, real sockets."""

from tests.stack.process import Stack, StackFailedError

__all__ = ["Stack", "StackFailedError"]
