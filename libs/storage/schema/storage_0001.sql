-- Files: their bytes in pieces, so that neither side ever holds a whole one to store or to send it.
CREATE TABLE files (
    id           text PRIMARY KEY,
    workspace    text NOT NULL,
    name         text NOT NULL,
    content_type text NOT NULL,
    size         bigint,       -- NULL while the bytes are coming in: the file is not there yet
    origin       text UNIQUE,  -- what a fetched file was fetched for, so that it is fetched once
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz
);
CREATE INDEX files_expiring ON files (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE file_chunks (
    file_id text NOT NULL REFERENCES files ON DELETE CASCADE,
    number  integer NOT NULL,
    bytes   bytea NOT NULL,
    PRIMARY KEY (file_id, number)
);
ALTER TABLE file_chunks ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Secrets: AES-256-GCM under a key that is derived from the installation's master key. A version is never used twice,
-- so that an older ciphertext does not pass for a newer one.
CREATE SEQUENCE secret_versions;
CREATE TABLE secrets (
    workspace  text NOT NULL,
    name       text NOT NULL,
    version    bigint NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace, name)
);

-- Collections of documents. Words are indexed as English has them (stemmed, without stop words) and as they stand, for
-- the questions that are made of stop words alone.
CREATE TABLE collections (
    id         text PRIMARY KEY,
    workspace  text NOT NULL,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workspace, name)
);
CREATE TABLE documents (
    id            text PRIMARY KEY,
    collection_id text NOT NULL REFERENCES collections ON DELETE CASCADE,
    text          text NOT NULL,
    metadata      json NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    words         tsvector GENERATED ALWAYS AS (to_tsvector('english', text) || to_tsvector('simple', text)) STORED
);
CREATE INDEX documents_newest ON documents (collection_id, created_at DESC, id DESC);
CREATE INDEX documents_words ON documents USING gin (words);
