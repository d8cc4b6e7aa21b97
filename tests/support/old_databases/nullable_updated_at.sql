-- State (b): updated_at may be NULL, has no default, and is NULL in most rows; ids are text, deleting is soft.
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('theirs');

CREATE TABLE clients (
    id text PRIMARY KEY,
    name text,
    external_id text,
    created_at timestamp,
    updated_at timestamp,
    is_deleted boolean
);

CREATE TABLE exchange_api_keys (
    id text PRIMARY KEY,
    client_id text,
    exchange text NOT NULL,
    name text,
    api_key text,
    api_secret text,
    passphrase text,
    is_active integer,
    is_deleted boolean,
    deleted_at timestamp,
    is_testnet boolean,
    permissions jsonb DEFAULT '["read", "trade"]',
    created_at timestamp,
    updated_at timestamp
);
