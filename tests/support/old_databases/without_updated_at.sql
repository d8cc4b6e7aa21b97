-- State (a): no updated_at at all; ids are numbers.
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('theirs');

CREATE TABLE clients (
    id varchar(64) PRIMARY KEY,
    name varchar(255),
    email varchar(255),
    created_at timestamp DEFAULT now()
);

CREATE TABLE exchange_api_keys (
    id serial PRIMARY KEY,
    client_id varchar(64) NOT NULL,
    exchange varchar(50) NOT NULL,
    label varchar(100),
    api_key text NOT NULL,
    api_secret text NOT NULL,
    passphrase text,
    is_active boolean DEFAULT true,
    created_at timestamp DEFAULT now()
);
CREATE INDEX ix_exchange_api_keys_client ON exchange_api_keys (client_id);
