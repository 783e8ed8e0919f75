-- name: read_position
INSERT INTO positions (reading, stream, sequence) VALUES ($1, $2, 0)
ON CONFLICT (reading, stream) DO UPDATE SET reading = excluded.reading
RETURNING sequence;

-- name: write_position
UPDATE positions SET sequence = $3 WHERE reading = $1 AND stream = $2;

-- name: list_positions
SELECT stream, sequence FROM positions WHERE reading = $1;

-- name: commit_without_waiting
SET LOCAL synchronous_commit = off;
