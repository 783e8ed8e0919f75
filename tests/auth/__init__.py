"""The auth service and its callers' side: decisions by themselves, the rest on a real NATS with real processes."""
