"""What every process needs whatever it does: settings, logs, metrics, health, failures, shutdown."""
