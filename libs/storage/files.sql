-- name: begin_file
INSERT INTO files (id, workspace, name, content_type, expires_at) VALUES ($1, $2, $3, $4, now() + $5::interval);

-- name: write_chunk
INSERT INTO file_chunks (file_id, number, bytes) VALUES ($1, $2, $3);

-- name: finish_file
UPDATE files SET size = $2, origin = $3, expires_at = now() + $4::interval WHERE id = $1
RETURNING id, name, content_type, size;

-- name: find_file
SELECT id, name, content_type, size FROM files
WHERE workspace = $1 AND id = $2 AND size IS NOT NULL AND (expires_at IS NULL OR expires_at > now());

-- name: find_origin
SELECT id, name, content_type, size FROM files
WHERE workspace = $1 AND origin = $2 AND size IS NOT NULL AND expires_at > now();

-- name: read_chunk
SELECT bytes FROM file_chunks WHERE file_id = $1 AND number = $2;

-- name: delete_file
DELETE FROM files WHERE workspace = $1 AND id = $2 AND size IS NOT NULL RETURNING id;

-- name: drop_file
DELETE FROM files WHERE id = $1;

-- name: drop_expired
DELETE FROM files WHERE id IN (SELECT id FROM files WHERE expires_at < now() LIMIT 20 FOR UPDATE SKIP LOCKED);
