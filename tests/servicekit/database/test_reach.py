"""The start says in one sentence why the database can't be had, and connects the way that sslmode says."""

import asyncio
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from servicekit.database import migrate, reach
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl, parse_url
from servicekit.errors import StartupError
from tests.support.certificates import Authority
from tests.support.postgres import ThrowAwayPostgres
from tests.support.tls_front import TlsFront

HBA = """
local all app scram-sha-256
local all all trust
"""
PASSWORD = secrets.token_hex(8)
AT_ONCE = timedelta(0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one authority: the server's for 127.0.0.1, a client's; and a stranger's authority."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority("root")
    authority.write(directory / "root.crt")
    for name in ("server", "certified"):
        authority.issue(name).write(directory / f"{name}.crt", directory / f"{name}.key")
    Authority("stranger").write(directory / "stranger.crt")
    return directory


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[ThrowAwayPostgres]:
    """A server that asks the role ``app`` for its password."""
    server = ThrowAwayPostgres(hba=HBA)
    try:
        server.start()
        server.sql(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
        yield server
    finally:
        server.stop()


@pytest.fixture
async def front(guarded_server: ThrowAwayPostgres, certificates: Path) -> AsyncIterator[TlsFront]:
    """TLS in front of it, for those who want it."""
    async with TlsFront(guarded_server.socket, server_context(certificates), takes_plain=True) as front:
        yield front


def server_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "root.crt"))
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    return context


@pytest.fixture
def tls_url(front: TlsFront) -> DatabaseUrl:
    return DatabaseUrl("127.0.0.1", front.port, "postgres", "app", SecretStr(PASSWORD), "require")


async def reached(url: DatabaseUrl, patience: timedelta = AT_ONCE) -> None:
    database = Database(DatabaseOptions(url=url, connect_timeout=timedelta(seconds=2)))
    try:
        await database.wait_until_reachable(patience)
        assert await database.ready()
    finally:
        await database.close()


async def refused(url: DatabaseUrl, patience: timedelta = AT_ONCE) -> str:
    with pytest.raises(StartupError) as refusal:
        await reached(url, patience)
    sentence = str(refusal.value)
    assert "\n" not in sentence
    assert PASSWORD not in sentence
    return sentence


async def pooled(url: DatabaseUrl) -> None:
    database = Database(DatabaseOptions(url=url))
    async with database.autocommit() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await database.close()


async def test_a_database_that_answers_is_reached(database_url: DatabaseUrl) -> None:
    await reached(database_url)


async def test_nobody_listening_is_one_sentence(database_url: DatabaseUrl) -> None:
    port = free_port()
    assert await refused(parse_url(f"postgres://127.0.0.1:{port}/d")) == (
        f"The database at 127.0.0.1:{port} can't be reached: nothing listens there, or the name is unknown."
    )
    assert "nothing listens there" in await refused(replace(database_url, host="/nowhere"))


async def test_a_server_that_says_nothing_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = parse_url(f"postgres://127.0.0.1:{port}/d?sslmode=disable")
        assert await refused(url) == f"The database at 127.0.0.1:{port} can't be reached: no answer in time."


async def test_a_database_that_comes_later_is_waited_for() -> None:
    server = ThrowAwayPostgres()
    waiting = asyncio.create_task(reached(parse_url(server.url()), timedelta(seconds=30)))
    try:
        await asyncio.to_thread(server.start)
        await waiting
    finally:
        waiting.cancel()
        await asyncio.to_thread(server.stop)


async def test_no_such_database_is_one_sentence(database_url: DatabaseUrl) -> None:
    sentence = await refused(replace(database_url, database="nothing"), timedelta(seconds=30))
    assert sentence == f"The server at {database_url.where} has no database named nothing."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
         "does not let user {user} connect to database {database}: grant CONNECT on it."),
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS false",
         "takes no connections to database {database}: ALLOW_CONNECTIONS is false there."),
    ],
)  # fmt: skip
async def test_what_a_server_refuses_for_good_is_said_at_once(
    database_url: DatabaseUrl, postgres_server: ThrowAwayPostgres, change: str, sentence: str
) -> None:
    names = {"user": f"role_{secrets.token_hex(4)}", "database": database_url.database}
    postgres_server.sql(f"CREATE ROLE {names['user']} LOGIN")
    try:
        postgres_server.sql(change.format(**names))
        async with asyncio.timeout(20):
            said = await refused(replace(database_url, user=names["user"]), timedelta(hours=1))
    finally:
        postgres_server.sql(f"DROP ROLE {names['user']}")
    assert said == f"The server at {database_url.where} {sentence.format(**names)}"


async def test_an_option_that_the_server_refuses_is_no_matter_of_the_network(
    database_url: DatabaseUrl,
) -> None:
    options = DatabaseOptions(url=database_url, statement_timeout=timedelta(days=99999))
    with pytest.raises(StartupError, match="refused the connection with InvalidParameterValueError"):
        await reach.wait_until_reachable(options, timedelta(hours=1))


async def test_a_wrong_password_is_one_sentence(tls_url: DatabaseUrl) -> None:
    wrong = replace(tls_url, password=SecretStr(secrets.token_hex(8)))
    assert await refused(wrong) == f"The database at {tls_url.where} refused the password of user app."


async def test_no_password_is_one_sentence_whatever_the_environment_has(
    tls_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert await refused(replace(tls_url, password=None)) == (
        f"The database at {tls_url.where} asks for a password of user app and none is set."
    )


async def test_a_server_that_wants_tls_is_one_sentence(
    guarded_server: ThrowAwayPostgres, certificates: Path
) -> None:
    async with TlsFront(guarded_server.socket, server_context(certificates), takes_plain=False) as front:
        url = DatabaseUrl("127.0.0.1", front.port, "postgres", "app", SecretStr(PASSWORD), "disable")
        assert await refused(url) == (
            f"The database at {url.where} does not let user app in with sslmode=disable: "
            "look at the user's name and at pg_hba.conf."
        )
        await reached(replace(url, sslmode="allow"))


async def test_a_server_without_tls_is_one_sentence_unless_tls_is_only_preferred() -> None:
    port = free_port()
    server = ThrowAwayPostgres({"listen_addresses": "127.0.0.1", "port": str(port)})
    url = DatabaseUrl("127.0.0.1", port, "postgres", "postgres", sslmode="require")
    try:
        await asyncio.to_thread(server.start)
        assert await refused(url) == (
            f"The database at 127.0.0.1:{port} does not speak TLS, and sslmode=require demands it."
        )
        await reached(replace(url, sslmode="prefer"))
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_certificate_of_a_stranger_is_one_sentence(tls_url: DatabaseUrl, certificates: Path) -> None:
    strict = replace(tls_url, sslmode="verify-ca", sslrootcert=str(certificates / "stranger.crt"))
    assert "its certificate does not satisfy sslmode=verify-ca" in await refused(strict)


async def test_a_certificate_for_another_name_is_refused_by_verify_full_only(
    tls_url: DatabaseUrl, certificates: Path
) -> None:
    other = replace(tls_url, host="localhost", sslrootcert=str(certificates / "root.crt"))
    await reached(replace(other, sslmode="verify-ca"))
    assert "does not satisfy sslmode=verify-full" in await refused(replace(other, sslmode="verify-full"))


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
async def test_every_mode_that_may_encrypt_does(
    tls_url: DatabaseUrl, front: TlsFront, certificates: Path, mode: str
) -> None:
    roots = str(certificates / "root.crt") if mode.startswith("verify") else None
    await pooled(replace(tls_url, sslmode=mode, sslrootcert=roots))
    assert (front.encrypted, front.plain) == (1, 0)


@pytest.mark.parametrize("mode", ["disable", "allow"])
async def test_a_mode_that_need_not_encrypt_does_not(
    tls_url: DatabaseUrl, front: TlsFront, mode: str
) -> None:
    await pooled(replace(tls_url, sslmode=mode))
    assert (front.encrypted, front.plain) == (0, 1)


async def test_a_client_certificate_is_shown_to_a_server_that_asks_for_one(
    guarded_server: ThrowAwayPostgres, certificates: Path
) -> None:
    context = server_context(certificates)
    context.verify_mode = ssl.CERT_REQUIRED
    async with TlsFront(guarded_server.socket, context, takes_plain=False) as front:
        without = DatabaseUrl("127.0.0.1", front.port, "postgres", "app", SecretStr(PASSWORD), "require")
        assert "it wants a client certificate (sslcert)" in await refused(without)
        await pooled(
            replace(without, sslcert=certificates / "certified.crt", sslkey=certificates / "certified.key")
        )


async def test_migrations_reach_it_the_same_way(
    tls_url: DatabaseUrl, front: TlsFront, certificates: Path
) -> None:
    strict = replace(tls_url, sslmode="verify-full", sslrootcert=str(certificates / "root.crt"))
    assert await migrate.current(strict) is None
    assert (front.encrypted, front.plain) == (1, 0)


async def test_a_server_that_is_too_old_is_one_sentence(
    database_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "OLDEST_MAJOR", 99)
    assert "needed is 99 or newer." in await refused(database_url)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (asyncpg.CannotConnectNowError("x"), "is still starting, or is shutting down."),
        (asyncpg.AdminShutdownError("x"), "is still starting, or is shutting down."),
        (asyncpg.TooManyConnectionsError("x"), "has no connection to spare."),
        # What a pooler says, whatever is wrong behind it.
        (asyncpg.ProtocolViolationError("x"), "turns connections away with ProtocolViolationError."),
    ],
)
async def test_a_server_that_can_not_take_us_yet_is_one_sentence(
    database_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    tries = []

    async def fail(_: DatabaseOptions) -> int:
        tries.append(1)
        raise error

    monkeypatch.setattr(reach, "open_once", fail)
    assert sentence in await refused(database_url, timedelta(seconds=0.3))
    assert len(tries) > 1, "it is waited for"
