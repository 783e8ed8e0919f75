-- Deliveries and their attempts: what was told to whom, and what came of it. The facts lie in the log; `delivery` is the
-- delivery as it lies there, so that it can be asked for again.
CREATE TABLE deliveries (
    workspace     text NOT NULL,
    id            text NOT NULL,
    channel       text NOT NULL,
    webhook_id    text,
    target        text NOT NULL,
    event         text NOT NULL,
    run_id        text NOT NULL,
    deployment_id text NOT NULL,
    status        text NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    attempts      integer NOT NULL,
    next_at       timestamptz,
    last_status   integer,
    error         text,
    delivery      text NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX deliveries_newest ON deliveries (workspace, status, created_at DESC, id DESC);
CREATE INDEX deliveries_of_webhook ON deliveries (workspace, webhook_id, status, created_at DESC, id DESC)
    WHERE webhook_id IS NOT NULL;
CREATE INDEX deliveries_of_run ON deliveries (workspace, run_id);

CREATE TABLE attempts (
    workspace       text NOT NULL,
    delivery_id     text NOT NULL,
    id              text NOT NULL,
    number          integer NOT NULL,
    at              timestamptz NOT NULL,
    outcome         text NOT NULL,
    status          integer,
    latency_seconds double precision NOT NULL,
    answer          text NOT NULL,
    error           text,
    PRIMARY KEY (workspace, delivery_id, id)
);
