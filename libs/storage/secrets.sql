-- name: next_version
SELECT nextval('secret_versions');

-- name: put_secret
INSERT INTO secrets (workspace, name, version, sealed) VALUES ($1, $2, $3, $4)
ON CONFLICT (workspace, name) DO UPDATE SET version = excluded.version, sealed = excluded.sealed, updated_at = now()
RETURNING created_at, updated_at, (xmax = 0) AS created;

-- name: read_secrets
SELECT name, version, sealed FROM secrets WHERE workspace = $1 AND name = ANY ($2::text[]);

-- name: list_secrets
SELECT name, created_at, updated_at FROM secrets
WHERE workspace = $1 AND ($2::timestamptz IS NULL OR (created_at, name) < ($2, $3::text))
ORDER BY created_at DESC, name DESC
LIMIT $4;

-- name: delete_secret
DELETE FROM secrets WHERE workspace = $1 AND name = $2 RETURNING name;
