-- The runs table: what it is searched by and what is added up, one row a run. What a run said and was told stays in
-- the log, where a page of the table reads it.
CREATE TABLE runs (
    workspace        text NOT NULL,
    id               text NOT NULL,
    flow_id          text NOT NULL,
    deployment_id    text NOT NULL,
    version          integer NOT NULL,
    key_id           text NOT NULL,
    session_id       text,
    status           text NOT NULL,
    error_code       text,
    created_at       timestamptz NOT NULL,
    finished_at      timestamptz,
    duration_seconds double precision,
    input_tokens     bigint NOT NULL DEFAULT 0,
    output_tokens    bigint NOT NULL DEFAULT 0,
    cost_usd         double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX runs_newest ON runs (workspace, created_at DESC, id DESC);
CREATE INDEX runs_of_deployment ON runs (workspace, deployment_id, created_at DESC, id DESC);
CREATE INDEX runs_of_flow ON runs (workspace, flow_id, created_at DESC, id DESC);
CREATE INDEX runs_by_status ON runs (workspace, status, created_at DESC, id DESC);
CREATE INDEX runs_of_session ON runs (workspace, session_id, created_at DESC, id DESC) WHERE session_id IS NOT NULL;

-- How far each reading has come: the stream sequence of the last message in it, stored with what that message changed.
CREATE TABLE positions (
    reading  text NOT NULL,
    stream   text NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (reading, stream)
);
