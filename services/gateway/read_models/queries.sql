-- name: insert_runs
INSERT INTO runs (workspace, id, flow_id, deployment_id, version, key_id, session_id, status, error_code, created_at,
                  finished_at, duration_seconds, input_tokens, output_tokens, cost_usd)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::timestamptz[], $11::timestamptz[], $12::float8[], $13::bigint[], $14::bigint[],
                     $15::float8[])
ON CONFLICT (workspace, id) DO NOTHING;

-- name: update_runs
UPDATE runs SET status = new.status, error_code = new.error_code, finished_at = new.finished_at,
                duration_seconds = new.duration_seconds, input_tokens = new.input_tokens,
                output_tokens = new.output_tokens, cost_usd = new.cost_usd
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::float8[], $7::bigint[],
            $8::bigint[], $9::float8[])
  AS new (workspace, id, status, error_code, finished_at, duration_seconds, input_tokens, output_tokens, cost_usd)
WHERE runs.workspace = new.workspace AND runs.id = new.id AND runs.finished_at IS NULL;

-- name: read_position
INSERT INTO positions (reading, stream, sequence) VALUES ($1, $2, 0)
ON CONFLICT (reading, stream) DO UPDATE SET reading = excluded.reading
RETURNING sequence;

-- name: write_position
UPDATE positions SET sequence = $3 WHERE reading = $1 AND stream = $2;

-- name: list_positions
SELECT stream, sequence FROM positions WHERE reading = $1;

-- name: list_runs
SELECT id, created_at FROM runs
WHERE workspace = $1
  AND ($2::text IS NULL OR deployment_id = $2)
  AND ($3::text IS NULL OR flow_id = $3)
  AND ($4::text IS NULL OR status = $4)
  AND ($5::text IS NULL OR session_id = $5)
  AND ($6::timestamptz IS NULL OR created_at >= $6)
  AND ($7::timestamptz IS NULL OR created_at < $7)
  AND ($8::timestamptz IS NULL OR (created_at, id) < ($8, $9::text))
  AND ($10::text[] IS NULL OR deployment_id = ANY ($10))
ORDER BY created_at DESC, id DESC
LIMIT $11;
