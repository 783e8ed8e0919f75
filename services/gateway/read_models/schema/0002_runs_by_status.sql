-- Every index of the runs table leads with the status, so that a filter by what is rare (the failed among a million
-- completed) reads no more than a page, and without that filter the five statuses are read side by side.
DROP INDEX runs_newest, runs_of_deployment, runs_of_flow, runs_of_session;
CREATE INDEX runs_of_deployment ON runs (workspace, deployment_id, status, created_at DESC, id DESC);
CREATE INDEX runs_of_flow ON runs (workspace, flow_id, status, created_at DESC, id DESC);
CREATE INDEX runs_of_session ON runs (workspace, session_id, status, created_at DESC, id DESC)
    WHERE session_id IS NOT NULL;
