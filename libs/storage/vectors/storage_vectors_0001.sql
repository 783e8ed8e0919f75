-- What an embedding model made of documents. Vectors of two models cannot be compared, so each says whose it is.
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE document_vectors (
    document_id text PRIMARY KEY REFERENCES documents ON DELETE CASCADE,
    model       text NOT NULL,
    embedding   vector NOT NULL
);
