"""TLS and mutual TLS, and certificates that are renewed while the server runs."""

import asyncio
import errno
import os
import secrets
import ssl
from collections.abc import Callable
from pathlib import Path
from ssl import TLSVersion
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from servicekit.errors import StartupError
from servicekit.rpc import client
from servicekit.rpc.call import Call
from servicekit.rpc.client import ClientTls, connect
from servicekit.rpc.pem import require_authorities, require_pair
from servicekit.rpc.tls import CertificateFiles, ServerTls, server_credentials
from tests.support.certificates import Authority
from tests.support.probe import Echo, Probe, ProbeStub, failure, quick, serving
from tests.support.tls_versions import between, only, speak, version_of


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("test authority")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> ServerTls:
    """The server's own certificate, without asking clients for theirs."""
    authority.write(tmp_path / "ca.pem")
    authority.issue("localhost").write(tmp_path / "server.pem", tmp_path / "server.key")
    return ServerTls(tmp_path / "server.pem", tmp_path / "server.key")


def mutual(files: ServerTls) -> ServerTls:
    return ServerTls(files.cert_file, files.key_file, files.cert_file.parent / "ca.pem")


def trusting(files: ServerTls, **own: Any) -> ClientTls:
    return ClientTls(ca_file=files.cert_file.parent / "ca.pem", server_name="localhost", **own)


def exhausted(path: Path) -> bytes:
    """Instead of what a file says, for a process that may open no more of them."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))


async def ask(port: int, tls: ClientTls | None) -> str:
    """One call on a connection of its own."""
    async with connect(f"127.0.0.1:{port}", tls=tls) as channel:
        answer = await channel.stub(ProbeStub).GetEcho(Echo(text="hello"), timeout=5)
        return str(answer.text)


async def test_a_client_that_trusts_the_authority_is_served(files: ServerTls) -> None:
    async with serving(options=quick(tls=files)) as server:
        assert await ask(server.port, trusting(files)) == "hello"


async def test_a_client_in_the_clear_is_not(files: ServerTls) -> None:
    async with serving(options=quick(tls=files)) as server:
        assert (await failure(ask(server.port, None))).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_trusts_another_authority_does_not_speak(
    files: ServerTls, tmp_path: Path
) -> None:
    Authority("another authority").write(tmp_path / "another.pem")
    stranger = ClientTls(ca_file=tmp_path / "another.pem", server_name="localhost")

    async with serving(options=quick(tls=files)) as server:
        assert (await failure(ask(server.port, stranger))).code() is grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls_takes_a_certificate_of_its_authority_and_no_other(
    files: ServerTls, authority: Authority, tmp_path: Path
) -> None:
    authority.issue("known").write(tmp_path / "known.pem", tmp_path / "known.key")
    Authority("another authority").issue("unknown").write(tmp_path / "unknown.pem", tmp_path / "unknown.key")

    def own(name: str) -> ClientTls:
        return trusting(files, cert_file=tmp_path / f"{name}.pem", key_file=tmp_path / f"{name}.key")

    async with serving(options=quick(tls=mutual(files))) as server:
        assert await ask(server.port, own("known")) == "hello"
        assert (await failure(ask(server.port, trusting(files)))).code() is grpc.StatusCode.UNAVAILABLE
        assert (await failure(ask(server.port, own("unknown")))).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_shows_its_renewed_certificate_and_calls_under_way_go_on(
    files: ServerTls, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_LOOK_EVERY", 0)
    shown: list[str] = []
    held, gate = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, call: Call) -> Any:
        [name] = call.context.auth_context()["peer_dns"]
        shown.append(name.decode())
        if request.text == "slow":
            held.set()
            await gate.wait()
        return Echo(text=name.decode())

    def renew(name: str) -> None:
        authority.issue(name).write(tmp_path / "own.pem", tmp_path / "own.key")

    renew("first")
    own = trusting(files, cert_file=tmp_path / "own.pem", key_file=tmp_path / "own.key")
    async with (
        serving(Probe(answer), quick(tls=mutual(files))) as server,
        connect(f"127.0.0.1:{server.port}", tls=own) as channel,
    ):
        stub = channel.stub(ProbeStub)
        slow = asyncio.ensure_future(stub.GetEcho(Echo(text="slow")))
        await held.wait()
        renew("second")
        assert (await stub.GetEcho(Echo())).text == "second"
        # A certificate without its key is half a renewal.
        authority.issue("third").write(tmp_path / "own.pem", tmp_path / "of another.key")
        assert (await stub.GetEcho(Echo())).text == "second"
        gate.set()
        assert (await slow).text == "first"
    assert shown == ["first", "second", "second"]


async def test_closing_a_channel_ends_what_is_under_way_on_a_former_connection(
    files: ServerTls, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_LOOK_EVERY", 0)
    held = asyncio.Event()

    async def answer(request: Any, _call: Call) -> Any:
        if request.text == "slow":
            held.set()
            await asyncio.Event().wait()
        return Echo()

    authority.issue("own").write(tmp_path / "own.pem", tmp_path / "own.key")
    own = trusting(files, cert_file=tmp_path / "own.pem", key_file=tmp_path / "own.key")
    async with serving(Probe(answer), quick(tls=files)) as server:
        channel = connect(f"127.0.0.1:{server.port}", tls=own)
        stub = channel.stub(ProbeStub)
        slow = asyncio.ensure_future(stub.GetEcho(Echo(text="slow")))
        await held.wait()
        authority.issue("own").write(tmp_path / "own.pem", tmp_path / "own.key")
        await stub.GetEcho(Echo())
        await channel.close()
        with pytest.raises(asyncio.CancelledError):
            await slow


async def test_tls_is_of_version_1_2_at_least_and_1_3_is_preferred(files: ServerTls) -> None:
    ca_file = files.cert_file.parent / "ca.pem"
    async with serving(options=quick(tls=files)) as server:
        for least, most, got in (
            (TLSVersion.TLSv1_2, TLSVersion.TLSv1_3, "TLSv1.3"),
            (TLSVersion.TLSv1_2, TLSVersion.TLSv1_2, "TLSv1.2"),
        ):
            assert await version_of(server.port, between(least, most, ca_file)) == got
        for old in (TLSVersion.TLSv1, TLSVersion.TLSv1_1):
            with pytest.raises((ConnectionResetError, ssl.SSLError)):
                await version_of(server.port, only(old, ca_file))


async def test_the_client_of_the_old_versions_would_speak_them(files: ServerTls) -> None:
    """Otherwise the test above would say nothing of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert_file, files.key_file)
    speak(context, TLSVersion.TLSv1, TLSVersion.TLSv1_3)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (
            await version_of(port, only(TLSVersion.TLSv1_1, files.cert_file.parent / "ca.pem")) == "TLSv1.1"
        )


async def test_a_renewed_certificate_is_shown_to_the_next_connection(files: ServerTls) -> None:
    renewed = Authority("renewed authority")
    with capture_logs() as logs:
        async with serving(options=quick(tls=files)) as server:
            assert await ask(server.port, trusting(files)) == "hello"
            renewed.issue("localhost").write(files.cert_file, files.key_file)
            assert (await failure(ask(server.port, trusting(files)))).code() is grpc.StatusCode.UNAVAILABLE
            renewed.write(files.cert_file.parent / "ca.pem")
            assert await ask(server.port, trusting(files)) == "hello"

    assert [each["event"] for each in logs if each["event"] != "rpc"] == ["TLS certificate reloaded"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("half a certifi")])
async def test_a_botched_renewal_leaves_the_former_certificate_in_use_and_says_so_once(
    files: ServerTls, harm: Callable[[Path], object]
) -> None:
    with capture_logs() as logs:
        async with serving(options=quick(tls=files)) as server:
            harm(files.cert_file)
            assert await ask(server.port, trusting(files)) == "hello"
            assert await ask(server.port, trusting(files)) == "hello"

    warnings = [each for each in logs if each["log_level"] == "warning"]
    assert {each["event"] for each in warnings} == {"the former TLS certificate stays in use"}
    assert str(files.cert_file) in warnings[0]["reason"]
    assert len(warnings) == 1


def test_the_files_are_read_anew_only_when_they_have_changed(files: ServerTls, authority: Authority) -> None:
    watched = CertificateFiles(mutual(files))
    watched.first()

    assert watched.changed() is None
    authority.issue("localhost").write(files.cert_file, files.key_file)
    assert watched.changed() is not None
    assert watched.changed() is None


def test_a_botched_renewal_that_is_mended_counts(files: ServerTls) -> None:
    watched = CertificateFiles(files)
    watched.first()
    former = files.key_file.read_bytes()

    files.key_file.write_text("half a ke")
    assert watched.changed() is None
    files.key_file.unlink()
    assert watched.changed() is None
    files.key_file.write_bytes(former)
    assert watched.changed() is not None


def test_a_renewal_that_could_not_be_read_at_once_counts_as_soon_as_it_can_be(
    files: ServerTls, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = CertificateFiles(files)
    watched.first()
    authority.issue("localhost").write(files.cert_file, files.key_file)
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(Path, "read_bytes", exhausted)
        assert [watched.changed(), watched.changed()] == [None, None]
    assert [each["log_level"] for each in logs] == ["warning"]
    assert watched.changed() is not None


async def test_a_client_s_renewal_that_could_not_be_read_at_once_counts_as_soon_as_it_can_be(
    files: ServerTls,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(client, "_LOOK_EVERY", 0)

    async def answer(_request: Any, call: Call) -> Any:
        [name] = call.context.auth_context()["peer_dns"]
        return Echo(text=name.decode())

    def renew(name: str) -> ClientTls:
        authority.issue(name).write(tmp_path / "own.pem", tmp_path / "own.key")
        return trusting(files, cert_file=tmp_path / "own.pem", key_file=tmp_path / "own.key")

    async with (
        serving(Probe(answer), quick(tls=mutual(files))) as server,
        connect(f"127.0.0.1:{server.port}", tls=renew("first")) as channel,
    ):
        stub = channel.stub(ProbeStub)
        assert (await stub.GetEcho(Echo())).text == "first"
        renew("second")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", exhausted)
            for _ in range(2):
                assert (await stub.GetEcho(Echo())).text == "first"
        [told] = [each.getMessage() for each in caplog.records if each.name == client.__name__]
        assert "stays in use: The TLS file" in told
        assert (await stub.GetEcho(Echo())).text == "second"


@pytest.mark.parametrize("missing", ["server.pem", "server.key", "ca.pem"])
async def test_a_missing_file_stops_the_start_and_is_named(files: ServerTls, missing: str) -> None:
    (files.cert_file.parent / missing).unlink()

    with pytest.raises(StartupError, match=rf"The TLS file .*{missing} cannot be read: No such file"):
        async with serving(options=quick(tls=mutual(files))):
            pass


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("server.pem", "are not a PEM certificate and its plain key"),
        ("server.key", "are not a PEM certificate and its plain key"),
        ("ca.pem", "holds no PEM certificate"),
    ],
)
def test_a_file_that_is_no_pem_stops_the_start(files: ServerTls, broken: str, sentence: str) -> None:
    (files.cert_file.parent / broken).write_text(secrets.token_hex(16))

    with pytest.raises(StartupError, match=sentence):
        server_credentials(mutual(files))


def test_a_key_of_another_certificate_stops_the_start(
    files: ServerTls, authority: Authority, tmp_path: Path
) -> None:
    authority.issue("other").write(tmp_path / "other.pem", files.key_file)

    with pytest.raises(StartupError, match="are not a PEM certificate and its plain key"):
        server_credentials(files)


def test_an_encrypted_key_stops_the_start_instead_of_asking(files: ServerTls, authority: Authority) -> None:
    authority.issue("localhost").write(files.cert_file, files.key_file, password=os.urandom(8).hex())

    with pytest.raises(StartupError, match="plain key"):
        server_credentials(files)


@pytest.mark.parametrize("directory", ["server.pem", "server.key", "ca.pem"])
def test_a_directory_in_a_file_s_place_stops_the_start(files: ServerTls, directory: str) -> None:
    path = files.cert_file.parent / directory
    path.unlink()
    path.mkdir()

    with pytest.raises(StartupError, match="TLS file"):
        server_credentials(mutual(files))


def test_what_cannot_be_read_is_not_taken_for_what_is_no_pem(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"absent.pem cannot be read: No such file"):
        require_authorities(tmp_path / "absent.pem")
    with pytest.raises(StartupError, match=r"absent.key cannot be read: No such file"):
        require_pair(tmp_path / "absent.pem", tmp_path / "absent.key")


def test_a_client_s_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"absent.pem cannot be read: No such file"):
        connect("127.0.0.1:1", tls=ClientTls(ca_file=tmp_path / "absent.pem"))
