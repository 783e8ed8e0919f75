-- name: read_position
INSERT INTO positions (reading, stream, sequence) VALUES ($1, $2, 0)
ON CONFLICT (reading, stream) DO UPDATE SET reading = excluded.reading
RETURNING sequence;

-- name: write_position
-- From $4, where whoever writes believes it to be: nothing where somebody else has put it elsewhere.
UPDATE positions SET sequence = $3 WHERE reading = $1 AND stream = $2 AND sequence = $4;

-- name: list_positions
SELECT stream, sequence FROM positions WHERE reading = $1;

-- name: commit_without_waiting
SET LOCAL synchronous_commit = off;
