"""An old database that can't be taken over is told so in one sentence, and is left as it was."""

import pytest

from servicekit.database import migrate
from servicekit.database.url import DatabaseUrl
from servicekit.errors import StartupError
from tests.support.old_database import WITHOUT, OldDatabase, api_keys, dump, plain_connection


@pytest.fixture
async def without(empty_database_url: DatabaseUrl) -> OldDatabase:
    return await OldDatabase(empty_database_url, WITHOUT).create()


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "CREATE TABLE orders (key_id int REFERENCES exchange_api_keys (id))",
            "The table orders refers to exchange_api_keys.* drop its foreign key orders_key_id_fkey first",
        ),
        (
            "CREATE VIEW live_keys AS SELECT id FROM exchange_api_keys",
            "The view live_keys reads exchange_api_keys, which is about to be replaced: drop it first",
        ),
        ("CREATE TABLE audit_events (n int)", "something called audit_events that is not keybridge's"),
        (
            "ALTER TABLE exchange_api_keys RENAME exchange TO venue",
            "exchange_api_keys has no column exchange",
        ),
        (
            "CREATE SCHEMA keybridge_legacy; CREATE TABLE keybridge_legacy.clients (n int)",
            "There is a table keybridge_legacy.clients of an earlier takeover",
        ),
        (
            "ALTER TABLE clients RENAME TO people; CREATE VIEW clients AS SELECT id FROM people",
            "clients is not a plain table",
        ),
        ("DROP TABLE exchange_api_keys", "something called clients that is not keybridge's"),
        (
            (
                "INSERT INTO exchange_api_keys (client_id, exchange, api_key, api_secret) VALUES ('a', 'b', '', '');"
                "ALTER TABLE exchange_api_keys ADD COLUMN \"Secret key\" text DEFAULT 'x'"
            ),
            (
                "The column 'Secret key' of exchange_api_keys looks as if it held secrets, which keybridge would not"
                " take over and must not leave behind: move it away, or rename it if it holds none"
            ),
        ),
        (
            (
                "ALTER TABLE clients DROP CONSTRAINT clients_pkey;"
                "INSERT INTO clients (id) VALUES ('8D7F3FD6-0FAD-4B3C-9B6D-77E2A5A6A9E1'),"
                " ('8d7f3fd6-0fad-4b3c-9b6d-77e2a5a6a9e1')"
            ),
            "The table clients has 2 rows with the id '8d7f3fd6-0fad-4b3c-9b6d-77e2a5a6a9e1'",
        ),
        (
            (
                "ALTER TABLE clients DROP CONSTRAINT clients_pkey, ALTER id DROP NOT NULL;"
                "INSERT INTO clients (id) VALUES (NULL)"
            ),
            "The table clients has rows without an id",
        ),
        (
            "ALTER TABLE exchange_api_keys ALTER created_at DROP DEFAULT, ALTER created_at TYPE bigint USING 0",
            "The column created_at of exchange_api_keys is of type bigint, which is no time: change its type first",
        ),
        (
            (
                "ALTER TABLE clients ALTER created_at TYPE text;"
                "INSERT INTO clients (id, created_at) VALUES ('a', 'yesteryear')"
            ),
            "The column created_at of clients has text in it that is no time: mend it first",
        ),
        (
            "CREATE TABLE more_keys () INHERITS (exchange_api_keys)",
            "exchange_api_keys, which is about to be replaced, is needed by table more_keys: drop that first",
        ),
        (
            "CREATE FUNCTION shown(exchange_api_keys) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            r"exchange_api_keys, which is about to be replaced, is needed by function shown\(exchange_api_keys\)",
        ),
        (
            "CREATE TABLE copies (n int, key clients)",
            "clients, which is about to be replaced, is needed by column key of table copies",
        ),
    ],
)
async def test_what_can_not_be_taken_over_is_refused_in_one_sentence_and_left_alone(
    without: OldDatabase, statement: str, sentence: str
) -> None:
    await migrate.upgrade(without.url, "0001")
    await without.execute(statement)
    before = dump(without.url)
    with pytest.raises(StartupError, match=f"can't be migrated: .*{sentence}.*Nothing was changed.$"):
        await migrate.upgrade(without.url)
    assert dump(without.url) == before


async def test_columns_that_look_like_secrets_do_no_harm_while_nothing_is_in_them(
    without: OldDatabase,
) -> None:
    await without.execute(
        "ALTER TABLE exchange_api_keys ADD COLUMN secret_key text, ADD COLUMN private_key bytea DEFAULT '',"
        " ADD COLUMN has_passphrase boolean DEFAULT true"
    )
    key = await without.add_key("alice", "kraken")
    await migrate.upgrade(without.url)
    assert (await api_keys(without.url)).keys() == {key.id}
    async with plain_connection(without.url) as connection:
        kept = await connection.fetchrow("SELECT * FROM keybridge_legacy.exchange_api_keys")
    assert (kept["secret_key"], kept["private_key"], kept["has_passphrase"]) == (None, b"", True)
