"""The gateway: the HTTP edge. Takes flows, deployments and runs in, answers with what the log says."""
