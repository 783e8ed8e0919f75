"""Where a deployment is called: the address of each way of calling it, all of them good for each deployment."""

ENDPOINTS: dict[str, str] = {
    "native": "/v1/deployments/{id}/runs",
    "batch": "/v1/deployments/{id}/batch",
    "hook": "/v1/deployments/{id}/hook",
    "run": "/v1/runs/{run_id}",
    "events": "/v1/runs/{run_id}/events",
    "aicuflow": "/node/deployment-trigger/{id}/",
    "evaligo": "/public/v1/flows/execute/{id}",
    "evaligo_jobs": "/public/v1/jobs/{job_id}",
    "langflow": "/langflow/api/v1/flows/{id}/run",
    "langflow_api": "/api/v1/run/{id}",
    "langflow_webhook": "/api/v1/webhook/{id}",
    "flowai": "/v1/api/workflow/run/{id}",
    "fluxprompt": "/flux/api-v2?flowId={id}",
}
"""Paths by dialect. `{id}` is the deployment's id; `{run_id}` and `{job_id}` stay for the caller to fill in."""


def endpoints_of(base: str, deployment_id: str) -> dict[str, str]:
    """The URLs of a deployment below `base`, which has no slash at its end."""
    return {name: base + path.replace("{id}", deployment_id) for name, path in ENDPOINTS.items()}
