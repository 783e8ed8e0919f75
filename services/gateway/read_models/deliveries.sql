-- name: put_deliveries
INSERT INTO deliveries (workspace, id, channel, webhook_id, target, event, run_id, deployment_id, status, created_at,
                        updated_at, attempts, next_at, last_status, error, delivery)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::timestamptz[], $11::timestamptz[], $12::integer[], $13::timestamptz[],
                     $14::integer[], $15::text[], $16::text[])
ON CONFLICT (workspace, id) DO UPDATE
SET status = excluded.status, updated_at = excluded.updated_at, attempts = excluded.attempts,
    next_at = excluded.next_at, last_status = excluded.last_status, error = excluded.error,
    delivery = excluded.delivery;

-- name: add_attempts
INSERT INTO attempts (workspace, delivery_id, id, number, at, outcome, status, latency_seconds, answer, error)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[], $6::text[], $7::integer[],
                     $8::float8[], $9::text[], $10::text[])
ON CONFLICT (workspace, delivery_id, id) DO NOTHING;

-- name: find_deliveries
-- Status by status as in the runs table. $1 workspace, $2 statuses, $3 not before, ($4, $5) before this place, $6 how
-- many, $7 channel or null, $8 run or null.
SELECT page.*
FROM unnest($2::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT * FROM deliveries
    WHERE workspace = $1 AND status = wanted.status
      AND created_at >= $3 AND (created_at, id) < ($4::timestamptz, $5::text)
      AND ($7::text IS NULL OR channel = $7) AND ($8::text IS NULL OR run_id = $8)
    ORDER BY created_at DESC, id DESC
    LIMIT $6
) AS page
ORDER BY page.created_at DESC, page.id DESC
LIMIT $6;

-- name: find_deliveries_of_webhook
SELECT page.*
FROM unnest($2::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT * FROM deliveries
    WHERE workspace = $1 AND webhook_id = $9::text AND status = wanted.status
      AND created_at >= $3 AND (created_at, id) < ($4::timestamptz, $5::text)
      AND ($7::text IS NULL OR channel = $7) AND ($8::text IS NULL OR run_id = $8)
    ORDER BY created_at DESC, id DESC
    LIMIT $6
) AS page
ORDER BY page.created_at DESC, page.id DESC
LIMIT $6;

-- name: find_deliveries_of_run
SELECT * FROM deliveries
WHERE workspace = $1 AND run_id = $8::text AND status = ANY ($2::text[])
  AND created_at >= $3 AND (created_at, id) < ($4::timestamptz, $5::text)
  AND ($7::text IS NULL OR channel = $7) AND ($9::text IS NULL OR webhook_id = $9)
ORDER BY created_at DESC, id DESC
LIMIT $6;

-- name: get_delivery
SELECT * FROM deliveries WHERE workspace = $1 AND id = $2;

-- name: list_attempts
SELECT * FROM attempts WHERE workspace = $1 AND delivery_id = $2 ORDER BY at DESC, id DESC LIMIT 100;
