"""Someone changed the database by hand: each kind of change is seen, and said in a sentence of its own."""

import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Column, MetaData, Table, Text, text

from servicekit.database import migrate, revisions
from servicekit.database.engine import Database
from servicekit.database.models import Base
from servicekit.database.schema import check_head, check_schema, require_schema
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Internal, StartupError
from tests.support.tables import Sample


async def by_hand(database: Database, *statements: str) -> None:
    async with database.transaction() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def differences(database: Database, metadata: MetaData = Sample.metadata) -> list[str]:
    async with database.transaction() as connection:
        return await check_schema(connection, metadata)


async def head(database: Database) -> str | None:
    async with database.transaction() as connection:
        return await check_head(connection)


async def test_a_database_made_from_the_models_does_not_differ(database: Database) -> None:
    assert await differences(database) == []
    await require_schema(database, Sample.metadata)


async def test_looking_leaves_nothing_behind(database: Database) -> None:
    await differences(database)
    async with database.transaction() as connection:
        left = (
            await connection.execute(text("SELECT count(*) FROM pg_class WHERE relpersistence = 't'"))
        ).scalar()
    assert left == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("DROP TABLE bridge.elsewhere", "The table bridge.elsewhere is missing."),
        ("DROP TABLE things; CREATE VIEW things AS SELECT 1 AS id", "things is not a table."),
        ("ALTER TABLE things SET UNLOGGED", "The table things is UNLOGGED: a crash would empty it."),
        ("ALTER TABLE things ENABLE ROW LEVEL SECURITY",
         "The table things has row security switched on, which hides rows."),
        ("ALTER TABLE things DISABLE TRIGGER ALL",
         "The table things has its foreign keys switched off (DISABLE TRIGGER)."),
        ("ALTER TABLE things DROP COLUMN facts", "The column things.facts is missing."),
        ("ALTER TABLE things ADD COLUMN more int", "The column things.more is not in the model."),
        ("ALTER TABLE things ALTER COLUMN created_at TYPE timestamp",
         ("The column things.created_at has type timestamp without time zone "
          "instead of timestamp with time zone.")),
        ("ALTER TABLE things ALTER COLUMN updated_at DROP NOT NULL",
         "The column things.updated_at allows NULL, against the model."),
        ("ALTER TABLE things ALTER COLUMN secret SET NOT NULL",
         "The column things.secret does not allow NULL, against the model."),
        ("ALTER TABLE things ALTER COLUMN updated_at DROP DEFAULT",
         "The column things.updated_at has no default instead of the default now()."),
        ("ALTER TABLE things ALTER COLUMN secret SET DEFAULT 'x'",
         "The column things.secret has the default 'x'::text instead of no default."),
        ('ALTER TABLE things ALTER COLUMN label TYPE text COLLATE "C"',
         "The column things.label has the collation C instead of the usual collation."),
        (("ALTER TABLE things ALTER COLUMN revision DROP DEFAULT, "
         "ALTER COLUMN revision ADD GENERATED ALWAYS AS IDENTITY"),
         "The column things.revision is generated differently from the model."),
        ("ALTER TABLE things DROP CONSTRAINT pk_things", "The primary key pk_things of things is missing."),
        ("ALTER TABLE things DROP CONSTRAINT uq_things_owner_id_label",
         "The unique constraint uq_things_owner_id_label of things is missing."),
        ("ALTER TABLE things ADD CONSTRAINT more UNIQUE (amount)",
         "The unique constraint more of things is not in the model."),
        ("ALTER TABLE things DROP CONSTRAINT fk_things_owner_id_owners",
         "The foreign key fk_things_owner_id_owners of things is missing."),
        (("ALTER TABLE things DROP CONSTRAINT fk_things_owner_id_owners; "
         "ALTER TABLE things ADD CONSTRAINT fk_things_owner_id_owners FOREIGN KEY (owner_id) "
          "REFERENCES owners (id)"),
         ("The foreign key fk_things_owner_id_owners of things is FOREIGN KEY owner_id REFERENCES owners id "
         "instead of FOREIGN KEY owner_id REFERENCES owners id ON DELETE CASCADE.")),
        (("ALTER TABLE things DROP CONSTRAINT fk_things_owner_id_owners; "
         "ALTER TABLE things ADD CONSTRAINT fk_things_owner_id_owners FOREIGN KEY (owner_id) "
         "REFERENCES bridge.elsewhere (id) ON DELETE CASCADE"),
         ("The foreign key fk_things_owner_id_owners of things is FOREIGN KEY owner_id REFERENCES "
         "bridge.elsewhere id ON DELETE CASCADE "
         "instead of FOREIGN KEY owner_id REFERENCES owners id ON DELETE CASCADE.")),
        ("ALTER TABLE things DROP CONSTRAINT ck_things_colour_known",
         "The check ck_things_colour_known of things is missing."),
        (("ALTER TABLE things DROP CONSTRAINT ck_things_amount_positive; "
         "ALTER TABLE things ADD CONSTRAINT ck_things_amount_positive CHECK (amount >= 0)"),
         ("The check ck_things_amount_positive of things is CHECK ((amount >= (0)::numeric)) "
         "instead of CHECK ((amount > (0)::numeric)).")),
        (("ALTER TABLE things DROP CONSTRAINT ck_things_amount_positive; "
         "ALTER TABLE things ADD CONSTRAINT ck_things_amount_positive CHECK (amount > 0) NOT VALID"),
         "The constraint ck_things_amount_positive of things is NOT VALID: older rows may break it."),
        ("ALTER TABLE things ADD CONSTRAINT more EXCLUDE (label WITH =)",
         "The exclusion constraint more of things is not in the model."),
        ("DROP INDEX ix_things_owner_id_created_at",
         "The index ix_things_owner_id_created_at of things is missing."),
        ("CREATE INDEX more ON things (label)", "The index more of things is not in the model."),
        ("DROP INDEX uq_things_secret_live; CREATE UNIQUE INDEX uq_things_secret_live ON things (secret)",
         ("The index uq_things_secret_live of things is "
         "CREATE UNIQUE INDEX uq_things_secret_live USING btree (secret) instead of "
         "CREATE UNIQUE INDEX uq_things_secret_live USING btree (secret) WHERE (NOT is_deleted).")),
        (("DROP INDEX uq_things_secret_live; CREATE INDEX uq_things_secret_live ON things (secret) "
         "WHERE NOT is_deleted"),
         ("The index uq_things_secret_live of things is "
         "CREATE INDEX uq_things_secret_live USING btree (secret) WHERE (NOT is_deleted) instead of "
         "CREATE UNIQUE INDEX uq_things_secret_live USING btree (secret) WHERE (NOT is_deleted).")),
        (("UPDATE pg_index SET indisvalid = false "
          "WHERE indexrelid = 'ix_things_owner_id_created_at'::regclass"),
         "The index ix_things_owner_id_created_at of things is invalid: building it failed."),
        ("ALTER TABLE things ALTER COLUMN revision DROP DEFAULT; DROP SEQUENCE sample_revisions",
         "The sequence sample_revisions is missing."),
    ],
)  # fmt: skip
async def test_a_change_by_hand_is_seen(database: Database, change: str, sentence: str) -> None:
    await by_hand(database, *change.split("; "))
    assert await differences(database) == [sentence]


async def test_a_role_that_owns_nothing_can_check(
    database: Database, make_database: Callable[..., Database], database_url: object
) -> None:
    role = f"reader_{secrets.token_hex(4)}"
    await by_hand(database, f"CREATE ROLE {role}", f"GRANT SELECT ON keybridge_alembic_version TO {role}")
    try:
        async with database.transaction() as connection:
            await connection.execute(text(f"SET LOCAL ROLE {role}"))
            assert await check_head(connection) is None
            assert await check_schema(connection, Sample.metadata) == []
        async with database.transaction() as connection:
            name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
            await connection.execute(text(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC'))
            await connection.execute(text(f"SET LOCAL ROLE {role}"))
            assert await check_schema(connection, Sample.metadata) == [
                "The schema can't be checked: grant TEMPORARY on this database to the service's role."
            ]
    finally:
        await by_hand(database, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def test_each_way_not_to_be_at_head_has_its_sentence(database: Database) -> None:
    newest = revisions.newest()
    assert await head(database) is None
    await by_hand(database, "UPDATE keybridge_alembic_version SET version_num = 'f00'")
    assert await head(database) == (
        f"The database is ahead of this release, which ends at revision {newest} and does not know f00: "
        "run the release that migrated it, or a newer one."
    )
    await by_hand(database, "DROP TABLE keybridge_alembic_version")
    assert await head(database) == (
        f"The database has never been migrated by keybridge (needed is revision {newest}): "
        "run `keybridge db upgrade`."
    )


async def test_a_database_behind_the_release_is_told_apart(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = revisions.newest()
    monkeypatch.setattr(revisions, "newest", lambda: "9999")
    assert await head(database) == (
        f"The database is behind this release, at revision {here} instead of 9999: "
        "run `keybridge db upgrade`."
    )


async def test_a_role_that_may_not_read_the_revision_is_told_what_to_grant(database: Database) -> None:
    role = f"stranger_{secrets.token_hex(4)}"
    await by_hand(database, f"CREATE ROLE {role}")
    try:
        async with database.transaction() as connection:
            await connection.execute(text(f"SET LOCAL ROLE {role}"))
            with pytest.raises(
                StartupError, match="grant SELECT on keybridge_alembic_version to the service"
            ):
                await check_head(connection)
    finally:
        await by_hand(database, f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("INSERT INTO keybridge_alembic_version VALUES ('f00')", "is at several revisions at once"),
        ("ALTER TABLE keybridge_alembic_version RENAME version_num TO more", "is not the one that keybridge makes"),
        ("ALTER TABLE keybridge_alembic_version ALTER version_num TYPE int USING 1",
         "is not the one that keybridge makes"),
    ],
)  # fmt: skip
async def test_a_version_table_that_tells_no_revision_is_one_sentence(
    database: Database, database_url: DatabaseUrl, change: str, sentence: str
) -> None:
    await by_hand(database, change)
    with pytest.raises(StartupError, match=sentence):
        await require_schema(database, Sample.metadata)
    with pytest.raises(StartupError, match=sentence):
        await migrate.upgrade(database_url)


async def test_a_database_that_is_lost_at_the_schema_is_one_sentence(
    make_database: Callable[..., Database], database_url: DatabaseUrl
) -> None:
    away = make_database(url=replace(database_url, database="nothing"))
    with pytest.raises(StartupError, match=f"^The database at {database_url.where} was lost while"):
        await require_schema(away, Sample.metadata)


async def test_a_check_that_fails_is_one_sentence_and_names_what_the_database_said(
    database: Database,
) -> None:
    wrong = MetaData()
    Table("wrong", wrong, Column("id", Text, server_default=text("no_such_function()")))
    with pytest.raises(
        StartupError, match=r"failed with UndefinedFunctionError while its schema was looked at\.$"
    ):
        await require_schema(database, wrong)


async def test_the_start_stops_at_the_first_difference_and_counts_the_rest(database: Database) -> None:
    await by_hand(database, "ALTER TABLE things DROP COLUMN facts")
    with pytest.raises(
        StartupError, match=r"^The database differs .*: The column things.facts is missing\.$"
    ):
        await require_schema(database, Sample.metadata)
    await by_hand(database, "DROP TABLE bridge.elsewhere")
    with pytest.raises(StartupError, match=r"The table bridge.elsewhere is missing|\(and 1 more: see"):
        await require_schema(database, Sample.metadata)
    await by_hand(database, "DELETE FROM keybridge_alembic_version")
    with pytest.raises(StartupError, match="never been migrated"):
        await require_schema(database, Sample.metadata)


async def test_an_error_that_is_not_about_rights_is_not_hidden(database: Database) -> None:
    wrong = MetaData()
    Table("wrong", wrong, Column("id", Text, server_default=text("no_such_function()")))
    with pytest.raises(Internal):
        await differences(database, wrong)


async def test_the_migrated_schema_is_that_of_the_models(make_database: Callable[..., Database]) -> None:
    await require_schema(make_database(), Base.metadata)
