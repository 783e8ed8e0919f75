-- name: insert_runs
-- A run that was held is asked for a second time: then it is there, and may have ended within the same batch.
INSERT INTO runs (workspace, id, flow_id, deployment_id, version, key_id, session_id, status, error_code, created_at,
                  finished_at, duration_seconds, input_tokens, output_tokens, cost_usd)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::timestamptz[], $11::timestamptz[], $12::float8[], $13::bigint[], $14::bigint[],
                     $15::float8[])
ON CONFLICT (workspace, id) DO UPDATE
SET status = excluded.status, error_code = excluded.error_code, finished_at = excluded.finished_at,
    duration_seconds = excluded.duration_seconds, input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens, cost_usd = excluded.cost_usd
WHERE runs.finished_at IS NULL AND excluded.status <> 'queued';

-- name: update_runs
UPDATE runs SET status = new.status, error_code = new.error_code, finished_at = new.finished_at,
                duration_seconds = new.duration_seconds, input_tokens = new.input_tokens,
                output_tokens = new.output_tokens, cost_usd = new.cost_usd
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::float8[], $7::bigint[],
            $8::bigint[], $9::float8[])
  AS new (workspace, id, status, error_code, finished_at, duration_seconds, input_tokens, output_tokens, cost_usd)
WHERE runs.workspace = new.workspace AND runs.id = new.id AND runs.finished_at IS NULL;

-- name: find_runs
-- Status by status, each in the order of an index that begins with what is asked for, and merged: one set of indexes
-- serves with and without a status, and a page costs the same whatever is rare among a million runs.
-- $1 workspace, $2 statuses, $3 not before, ($4, $5) before this place, $6 how many; the same in the next three.
SELECT page.id, page.created_at
FROM unnest($2::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT id, created_at FROM runs
    WHERE workspace = $1 AND status = wanted.status
      AND created_at >= $3 AND (created_at, id) < ($4::timestamptz, $5::text)
    ORDER BY created_at DESC, id DESC
    LIMIT $6
) AS page
ORDER BY page.created_at DESC, page.id DESC
LIMIT $6;

-- name: find_runs_of_flow
SELECT page.id, page.created_at
FROM unnest($2::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT id, created_at FROM runs
    WHERE workspace = $1 AND flow_id = $7::text AND status = wanted.status
      AND created_at >= $3 AND (created_at, id) < ($4::timestamptz, $5::text)
    ORDER BY created_at DESC, id DESC
    LIMIT $6
) AS page
ORDER BY page.created_at DESC, page.id DESC
LIMIT $6;

-- name: find_runs_of_deployments
-- A deployment is of one flow, so its page is of the flow asked for ($8, or null) as a whole or not at all.
SELECT page.id, page.created_at
FROM unnest($7::text[]) AS chosen (deployment_id)
CROSS JOIN unnest($2::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT id, created_at, flow_id FROM runs
    WHERE workspace = $1 AND deployment_id = chosen.deployment_id AND status = wanted.status
      AND created_at >= $3 AND (created_at, id) < ($4::timestamptz, $5::text)
    ORDER BY created_at DESC, id DESC
    LIMIT $6
) AS page
WHERE $8::text IS NULL OR page.flow_id = $8
ORDER BY page.created_at DESC, page.id DESC
LIMIT $6;

-- name: find_runs_of_session
SELECT page.id, page.created_at
FROM unnest($2::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT id, created_at FROM runs
    WHERE workspace = $1 AND session_id = $7::text AND status = wanted.status
      AND created_at >= $3 AND (created_at, id) < ($4::timestamptz, $5::text)
      AND ($8::text IS NULL OR flow_id = $8)
      AND ($9::text[] IS NULL OR deployment_id = ANY ($9))
    ORDER BY created_at DESC, id DESC
    LIMIT $6
) AS page
ORDER BY page.created_at DESC, page.id DESC
LIMIT $6;

-- name: add_up_usage
-- By what $6 says, over the runs asked for from $3 on and before $4; $5 deployments, or null for all; $7 groups at most.
SELECT CASE $6::text WHEN 'deployment' THEN deployment_id
                     WHEN 'key' THEN key_id
                     ELSE to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END AS grouped,
       count(*) AS requests,
       count(*) FILTER (WHERE status <> 'queued') AS runs,
       count(*) FILTER (WHERE status = 'failed') AS errors,
       sum(input_tokens)::bigint AS input_tokens,
       sum(output_tokens)::bigint AS output_tokens,
       sum(cost_usd) AS cost_usd,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_seconds)
           FILTER (WHERE status IN ('completed', 'failed')) AS seconds
FROM runs
WHERE workspace = $1 AND status = ANY ($2::text[]) AND created_at >= $3 AND created_at < $4
  AND ($5::text[] IS NULL OR deployment_id = ANY ($5))
GROUP BY grouped
LIMIT $7;

-- name: add_up_deployment
SELECT count(*) AS requests,
       count(*) FILTER (WHERE status = 'queued') AS queued,
       count(*) FILTER (WHERE status = 'running') AS running,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
       coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
       coalesce(sum(cost_usd), 0) AS cost_usd,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_seconds)
           FILTER (WHERE status IN ('completed', 'failed')) AS seconds
FROM runs
WHERE workspace = $1 AND deployment_id = $5 AND status = ANY ($2::text[]) AND created_at >= $3 AND created_at < $4;

-- name: last_call
SELECT max(latest.created_at)
FROM unnest($2::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT created_at FROM runs
    WHERE workspace = $1 AND deployment_id = $3 AND status = wanted.status
    ORDER BY created_at DESC, id DESC
    LIMIT 1
) AS latest;
