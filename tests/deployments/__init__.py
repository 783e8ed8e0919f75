"""The settings of deployments."""
