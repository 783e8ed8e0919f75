-- name: create_collection
INSERT INTO collections (id, workspace, name) VALUES ($1, $2, $3)
ON CONFLICT (workspace, name) DO NOTHING
RETURNING name, created_at;

-- name: list_collections
SELECT name, created_at, (SELECT count(*) FROM documents WHERE collection_id = collections.id) AS documents
FROM collections
WHERE workspace = $1 AND ($2::timestamptz IS NULL OR (created_at, name) < ($2, $3::text))
ORDER BY created_at DESC, name DESC
LIMIT $4;

-- name: find_collection
SELECT name, created_at, (SELECT count(*) FROM documents WHERE collection_id = collections.id) AS documents
FROM collections WHERE workspace = $1 AND name = $2;

-- name: collection_id
SELECT id FROM collections WHERE workspace = $1 AND name = $2;

-- name: delete_collection
DELETE FROM collections WHERE workspace = $1 AND name = $2 RETURNING id;

-- name: add_documents
INSERT INTO documents (id, collection_id, text, metadata)
SELECT id, $1, text, metadata::json FROM unnest($2::text[], $3::text[], $4::text[]) AS new (id, text, metadata);

-- name: add_vectors
INSERT INTO document_vectors (document_id, model, embedding)
SELECT id, $1, embedding::vector FROM unnest($2::text[], $3::text[]) AS new (id, embedding);

-- name: list_documents
SELECT id, text, metadata, created_at FROM documents
WHERE collection_id = $1 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::text))
ORDER BY created_at DESC, id DESC
LIMIT $4;

-- name: delete_document
DELETE FROM documents WHERE collection_id = $1 AND id = $2 RETURNING id;

-- name: search_words
WITH given AS (
    SELECT plainto_tsquery('english', $2) AS english, plainto_tsquery('simple', $2) AS simple
), asked AS (
    SELECT CASE WHEN numnode(english) > 0 THEN websearch_to_tsquery('english', $2)
                ELSE websearch_to_tsquery('simple', $2) END AS all_words,
           regexp_replace((CASE WHEN numnode(english) > 0 THEN english ELSE simple END)::text,
                          ' (&|<->|<\d+>) ', ' | ', 'g')::tsquery AS any_word
    FROM given
)
SELECT text, metadata,
       CASE WHEN words @@ all_words THEN 1 + ts_rank_cd(words, all_words, 1 | 32)::float8
            ELSE ts_rank(words, any_word, 1)::float8 END / 2 AS score
FROM documents, asked
WHERE collection_id = $1 AND words @@ any_word
ORDER BY score DESC, id
LIMIT $3;

-- name: search_vectors
SELECT text, metadata, least(1, greatest(0, 1 - coalesce(nullif(distance, 'NaN'), 1))) AS score
FROM (
    SELECT id, text, metadata, embedding <=> $2::text::vector AS distance
    FROM documents JOIN document_vectors ON document_id = id
    WHERE collection_id = $1 AND model = $3
) AS compared
ORDER BY score DESC, id
LIMIT $4;
