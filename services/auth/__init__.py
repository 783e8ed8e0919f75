"""The auth service: the only one that knows keys. It verifies them, and keeps workspaces and their limits."""
