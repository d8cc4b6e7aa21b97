-- State (c): updated_at is NOT NULL without a default; ids are UUIDs, tokens are bytes, clients are a foreign key.
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('theirs');

CREATE TABLE clients (
    id text PRIMARY KEY,
    name text NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL
);

CREATE TABLE exchange_api_keys (
    id uuid PRIMARY KEY,
    client_id text NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    exchange text NOT NULL,
    label text NOT NULL DEFAULT '',
    api_key bytea NOT NULL,
    api_secret bytea NOT NULL,
    passphrase bytea,
    created_at timestamp,
    updated_at timestamp NOT NULL
);
ALTER TABLE clients ADD COLUMN favourite uuid REFERENCES exchange_api_keys (id);
