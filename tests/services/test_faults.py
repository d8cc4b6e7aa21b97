"""What keeps a service from starting is one sentence on standard error and an exit status, and nothing stays.

Real processes of both services: 2 is the status of a wrong setting, 1 that of a wrong environment.
"""

import asyncio
import secrets
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Table

from servicekit.database import migrate, revisions
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from tests.support.certificates import Authority
from tests.support.postgres import ThrowAwayPostgres
from tests.support.service_process import ROOT, ServiceProcess, StartService, free_port, raw_url
from tests.support.tables import Owner

SETTINGS, ENVIRONMENT = 2, 1

REVISION = "revision = {revision!r}\ndown_revision = {before!r}\nbranch_labels = depends_on = None\n"
REVISION += "def upgrade(): pass\n"

both = pytest.mark.parametrize("service", ["keyservice", "bridgeservice"])


def sentence(process: ServiceProcess, status: int) -> str:
    """The one sentence of a start that failed, when all the rest was as it has to be."""
    lines = process.errors()
    assert (process.status(), len(lines)) == (status, 1), "\n".join(lines)
    name, separator, said = lines[0].partition(": ")
    assert (name, separator) == (process.module.removeprefix("tests.support."), ": ")
    assert ". " not in said.rstrip(".")
    assert "Traceback" not in said
    assert process.stdout() == b""
    return said


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


@pytest.fixture(scope="session")
def strict_server() -> Iterator[ThrowAwayPostgres]:
    """A PostgreSQL that asks everyone but its superuser for a password."""
    server = ThrowAwayPostgres(hba="local all postgres trust\nlocal all all scram-sha-256\n")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@both
def test_all_that_is_wrong_with_the_settings_is_named_at_once(
    start_service: StartService, service: str
) -> None:
    prefix = service.upper()
    wrong = {"SHUTDOWN_GRACE": "soon", "MAX_CONCURRENT_RPCS": "0", "LISTNE": "127.0.0.1:1"}
    said = sentence(
        start_service(service, **{f"{prefix}_{name}": each for name, each in wrong.items()}), SETTINGS
    )
    assert f"{prefix}_LISTNE is not a known setting (the nearest known one is {prefix}_LISTEN)" in said
    assert f"{prefix}_SHUTDOWN_GRACE should be a duration" in said
    assert f"{prefix}_MAX_CONCURRENT_RPCS should be greater than or equal to 1, not '0'" in said


def test_a_database_url_that_is_none_is_refused_without_being_shown(start_service: StartService) -> None:
    password = secrets.token_hex()
    process = start_service("keyservice", DATABASE_URL=f"mysql://someone:{password}@db/keys")
    said = sentence(process, SETTINGS)
    assert said.startswith("DATABASE_URL has to look like postgresql://")
    assert password not in said


def test_a_secret_s_file_that_is_missing_is_named(start_service: StartService, tmp_path: Path) -> None:
    missing = tmp_path / "url"
    process = start_service("bridgeservice", DATABASE_URL_FILE=str(missing))
    assert sentence(process, SETTINGS) == (
        f"DATABASE_URL_FILE names a file that cannot be read ({missing}: No such file or directory)"
    )


@both
def test_an_address_that_others_reach_needs_tls(start_service: StartService, service: str) -> None:
    process = start_service(service, **{f"{service.upper()}_LISTEN": "0.0.0.0:0"})
    said = sentence(process, SETTINGS)
    assert f"{service.upper()}_TLS_CERT_FILE and {service.upper()}_TLS_KEY_FILE are required" in said


@both
def test_production_has_no_local_defaults(start_service: StartService, service: str) -> None:
    process = start_service(service, KEYBRIDGE_ENV="production", DB_NAME="keys")
    assert sentence(process, SETTINGS) == (
        "KEYBRIDGE_ENV=production does not use local defaults: set DB_HOST, DB_USER, or DATABASE_URL."
    )


@both
def test_production_wants_a_database(start_service: StartService, service: str) -> None:
    process = start_service(service, KEYBRIDGE_ENV="production")
    assert sentence(process, SETTINGS) == (
        "KEYBRIDGE_ENV=production does not use local defaults: "
        "set DB_HOST, DB_USER, DB_NAME, or DATABASE_URL."
    )


def test_a_port_alone_is_not_passed_over(start_service: StartService) -> None:
    port = str(free_port())
    process = start_service("bridgeservice", DB_PORT=port, BRIDGESERVICE_DB_START_TIMEOUT="0s")
    assert sentence(process, ENVIRONMENT).startswith(f"The database at localhost:{port} can't be reached")


def test_production_sends_nothing_unencrypted_to_another_machine(start_service: StartService) -> None:
    url = "postgresql://someone@db.example:5432/keys"
    process = start_service("bridgeservice", KEYBRIDGE_ENV="production", DATABASE_URL=url)
    said = sentence(process, SETTINGS)
    assert said.startswith("KEYBRIDGE_ENV=production sends nothing unencrypted to the database")


def test_what_is_wrong_with_a_worker_s_settings_is_said_once(start_service: StartService) -> None:
    process = start_service("keyservice", "--workers", "3", KEYBRIDGE_ENV="production")
    assert "KEYBRIDGE_ENV=production does not use local defaults" in sentence(process, SETTINGS)


def test_the_bridge_refuses_workers_and_says_why(start_service: StartService) -> None:
    said = sentence(start_service("bridgeservice", "--workers", "2"), SETTINGS)
    assert said.startswith("--workers is refused: the bridge keeps its connectors in memory")
    assert "x-keybridge-account" in said


@both
def test_a_port_in_use_is_named(
    start_service: StartService, service: str, taken_port: int, database_url: DatabaseUrl
) -> None:
    listen = f"127.0.0.1:{taken_port}"
    process = start_service(
        service, DATABASE_URL=raw_url(database_url), **{f"{service.upper()}_LISTEN": listen}
    )
    assert sentence(process, ENVIRONMENT) == f"Cannot listen on {listen}: address already in use."


def test_a_port_in_use_is_named_before_any_worker_is_started(
    start_service: StartService, taken_port: int
) -> None:
    listen = f"127.0.0.1:{taken_port}"
    process = start_service("keyservice", "--workers", "2", KEYSERVICE_LISTEN=listen)
    assert sentence(process, ENVIRONMENT) == f"Cannot listen on {listen}: address already in use."


@pytest.mark.parametrize(("service", "workers"), [("keyservice", 1), ("keyservice", 2), ("bridgeservice", 1)])
def test_a_metrics_port_in_use_is_named(
    start_service: StartService, service: str, taken_port: int, database_url: DatabaseUrl, workers: int
) -> None:
    listen = f"127.0.0.1:{taken_port}"
    process = start_service(
        service,
        "--workers",
        str(workers),
        DATABASE_URL=raw_url(database_url),
        **{f"{service.upper()}_METRICS_LISTEN": listen},
    )
    assert sentence(process, ENVIRONMENT).lower() == (
        f"the metrics cannot be served on {listen}: address already in use"
    )


@both
def test_a_database_that_does_not_answer_is_named(
    start_service: StartService, service: str, tmp_path: Path
) -> None:
    process = start_service(
        service,
        DATABASE_URL=f"postgresql://postgres@/keys?host={tmp_path}",
        **{f"{service.upper()}_DB_START_TIMEOUT": "0s"},
    )
    assert sentence(process, ENVIRONMENT) == (
        f"The database at {tmp_path}:5432 can't be reached: nothing listens there, or the name is unknown."
    )


@pytest.mark.parametrize(
    ("service", "given"), [("keyservice", True), ("bridgeservice", True), ("keyservice", False)]
)
def test_a_wrong_password_is_said_at_once_and_not_shown(
    start_service: StartService, service: str, strict_server: ThrowAwayPostgres, given: bool
) -> None:
    user, password = f"user_{secrets.token_hex(4)}", secrets.token_hex()
    strict_server.sql(f"CREATE ROLE {user} LOGIN PASSWORD '{secrets.token_hex()}'")
    account = f"{user}:{password}" if given else user
    url = f"postgresql://{account}@/postgres?host={strict_server.home}"
    said = sentence(start_service(service, DATABASE_URL=url), ENVIRONMENT)
    words = (
        f"refused the password of user {user}." if given else f"a password of user {user} and none is set."
    )
    assert said.endswith(words)
    assert password not in said


def test_a_database_that_is_not_there_is_named(
    start_service: StartService, postgres_server: ThrowAwayPostgres
) -> None:
    said = sentence(start_service("bridgeservice", DATABASE_URL=postgres_server.url("nowhere")), ENVIRONMENT)
    assert said == f"The server at {postgres_server.home}:5432 has no database named nowhere."


@both
def test_a_database_that_was_never_migrated_is_told_how(
    start_service: StartService, service: str, empty_database_url: DatabaseUrl
) -> None:
    said = sentence(start_service(service, DATABASE_URL=raw_url(empty_database_url)), ENVIRONMENT)
    assert said.startswith("The database has never been migrated by keybridge")
    assert said.endswith("run `keybridge db upgrade`.")


@both
def test_a_database_behind_is_told_how_to_come_up(
    start_service: StartService, service: str, database_url: DatabaseUrl, tmp_path: Path
) -> None:
    """The next release, with one revision more, on the database of this one."""
    for name in ("servicekit", "keyservice", "bridgeservice"):
        (tmp_path / name).symlink_to(ROOT / name)
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    for each in (ROOT / "migrations" / "versions").glob("*.py"):
        (versions / each.name).symlink_to(each)
    (tmp_path / "migrations" / "takeover").symlink_to(ROOT / "migrations" / "takeover")
    (tmp_path / "migrations" / "env.py").symlink_to(ROOT / "migrations" / "env.py")
    head = revisions.newest()
    (versions / "20991231_next_of_a_test.py").write_text(REVISION.format(revision="next", before=head))

    process = start_service(service, path=tmp_path, DATABASE_URL=raw_url(database_url))
    assert sentence(process, ENVIRONMENT) == (
        f"The database is behind this release, at revision {head} instead of next: "
        "run `keybridge db upgrade`."
    )


@pytest.mark.parametrize(
    ("service", "migrates"), [("keyservice", False), ("bridgeservice", False), ("keyservice", True)]
)
def test_a_database_ahead_wants_the_release_that_migrated_it(
    start_service: StartService, service: str, migrates: bool, database_url: DatabaseUrl, tmp_path: Path
) -> None:
    head = revisions.newest()
    (tmp_path / "20991231_next_of_a_test.py").write_text(REVISION.format(revision="next", before=head))
    asyncio.run(migrate.upgrade(database_url, more_versions=[tmp_path]))

    variables = {"DATABASE_URL": raw_url(database_url), f"{service.upper()}_MIGRATE_ON_START": str(migrates)}
    said = sentence(start_service(service, **variables), ENVIRONMENT)
    assert said.startswith("The database is ahead of this release")
    assert f"ends at revision {head} and does not know next" in said


@both
def test_a_role_that_may_not_read_the_revision_is_told_what_to_grant(
    start_service: StartService, service: str, database_url: DatabaseUrl, postgres_server: ThrowAwayPostgres
) -> None:
    role = f"role_{secrets.token_hex(4)}"
    postgres_server.sql(f"CREATE ROLE {role} LOGIN")
    try:
        process = start_service(service, DATABASE_URL=raw_url(replace(database_url, user=role)))
        assert sentence(process, ENVIRONMENT) == (
            "The revision of the database can't be read: "
            "grant SELECT on keybridge_alembic_version to the service's role."
        )
    finally:
        postgres_server.sql(f"DROP ROLE {role}")


@both
def test_a_schema_that_was_changed_by_hand_is_named(
    start_service: StartService, service: str, database_url: DatabaseUrl, postgres_server: ThrowAwayPostgres
) -> None:
    """With a table that this test adds to the models, so that it holds whatever tables there are."""
    asyncio.run(_create(database_url, Owner.metadata.tables["owners"]))
    program = ("tests.support.with_owners", service)
    variables = {"DATABASE_URL": raw_url(database_url), f"{service.upper()}_LISTEN": "127.0.0.1:0"}
    good = start_service(*program, **variables).wait_ready()
    good.terminate()
    assert good.status() == 0

    postgres_server.sql("ALTER TABLE owners ALTER created_at DROP DEFAULT", database_url.database)
    process = start_service(*program, **variables)
    process.module = service
    said = sentence(process, ENVIRONMENT)
    assert said.startswith("The database differs from what this release expects: ")
    assert "owners" in said
    assert "created_at" in said


async def _create(url: DatabaseUrl, table: Table) -> None:
    database = Database(DatabaseOptions(url=url))
    async with database.transaction() as connection:
        await connection.run_sync(table.create)
    await database.close()


@pytest.mark.parametrize(
    ("service", "broken"),
    [
        ("keyservice", "missing"),
        ("bridgeservice", "missing"),
        ("keyservice", "garbled"),
        ("bridgeservice", "another's"),
    ],
)
def test_tls_files_that_cannot_be_used_are_named(
    start_service: StartService, service: str, tmp_path: Path, database_url: DatabaseUrl, broken: str
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    Authority("ours").issue("bridge").write(certificate, key)
    if broken == "missing":
        key.unlink()
    elif broken == "garbled":
        certificate.write_bytes(certificate.read_bytes()[:200])
    else:
        Authority("ours").issue("bridge").write(tmp_path / "other.pem", key)
    prefix = service.upper()
    process = start_service(
        service,
        DATABASE_URL=raw_url(database_url),
        **{f"{prefix}_TLS_CERT_FILE": str(certificate), f"{prefix}_TLS_KEY_FILE": str(key)},
    )
    said = sentence(process, ENVIRONMENT)
    if broken == "missing":
        assert said == f"The TLS file {key} cannot be read: No such file or directory."
    else:
        assert said == f"The TLS files {certificate} and {key} are not a PEM certificate and its plain key."
