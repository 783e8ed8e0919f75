"""Flow versions, read from the log and compiled once: what gateways validate with and executors run."""
