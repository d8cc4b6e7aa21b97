"""What `keybridge up` has of its own to prove who is who: made once, kept, renewed in time, and left alone if told."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from keybridge import revocation
from keybridge.authority import names_of
from keybridge.identities import Identities
from keybridge.signing import SigningKey
from servicekit.errors import StartupError
from servicekit.rpc.deny_list import DenyList
from servicekit.rpc.policy import ROLES
from servicekit.rpc.tokens import TokenOptions, Tokens
from tests.support.certificates import Authority

TLS = {"BRIDGESERVICE_TLS_CERT_FILE": "/c", "BRIDGESERVICE_TLS_KEY_FILE": "/k"}


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def contents(home: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in home.iterdir()}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in after if after[name] != before.get(name)}


def test_everything_is_made_at_once_and_is_nobody_else_s(home: Path) -> None:
    Identities(home, {}).renew()
    assert set(contents(home)) == {
        *("ca.pem", "ca.key", "keyservice.pem", "keyservice.key", "bridgeservice.pem", "bridgeservice.key"),
        *("signing-key.pem", "jwks.json", "deny-list.json", "admin.token", "keyservice.token"),
    }
    assert {stat.S_IMODE(each.stat().st_mode) for each in home.iterdir()} == {0o600}


def test_the_tokens_are_what_the_services_take(home: Path) -> None:
    identities = Identities(home, {})
    identities.renew()
    for service, admits in (("keyservice", ["admin"]), ("bridgeservice", ["admin", "bridge-writer"])):
        options = TokenOptions(
            jwks_file=identities.jwks_file,
            issuer="keybridge",
            audience=service,
            leeway=timedelta(0),
            deny_list_file=identities.deny_list_file,
        )
        tokens = Tokens(options)
        files = [identities.admin_token_file, identities.keyservice_token_file][: len(admits)]
        found = [tokens.principal(each.read_text().strip()) for each in files]
        assert [each.role for each in found] == [ROLES[role] for role in admits]
        assert {each.clients for each in found} == {None}


def test_the_certificates_are_of_one_authority_and_for_every_name_of_the_service(home: Path) -> None:
    identities = Identities(
        home, {"BRIDGESERVICE_LISTEN": "bridge.example:1", "KEYSERVICE_LISTEN": "0.0.0.0:1"}
    )
    identities.renew()
    context = ssl.create_default_context(cafile=identities.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert len(context.get_ca_certs()) == 1
    for service, host in (("bridgeservice", "bridge.example"), ("keyservice", "localhost")):
        certificate = x509.load_pem_x509_certificate((home / f"{service}.pem").read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {"localhost", host} <= set(names.get_values_for_type(x509.DNSName))
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(identities.ca_file.read_bytes()))
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            home / f"{service}.pem", home / f"{service}.key"
        )


def test_what_listens_everywhere_is_called_by_the_machine_s_names() -> None:
    for everywhere in ("0.0.0.0", "::"):  # noqa: S104 - nothing is bound
        assert everywhere not in names_of(everywhere)
    assert names_of("192.0.2.7")[-1] == "192.0.2.7"


def test_all_of_it_is_kept_across_runs(home: Path, clock: Clock) -> None:
    Identities(home, {}, clock).renew()
    before = contents(home)
    clock.now += timedelta(days=5)
    Identities(home, {}, clock).renew()
    assert contents(home) == before


@pytest.mark.parametrize(
    ("after", "renewed"),
    [
        (timedelta(days=21), {"admin.token", "keyservice.token"}),
        (
            timedelta(days=61),
            {
                *("admin.token", "keyservice.token", "keyservice.pem", "keyservice.key"),
                *("bridgeservice.pem", "bridgeservice.key"),
            },
        ),
        (
            timedelta(days=3500),
            {
                *("admin.token", "keyservice.token", "keyservice.pem", "keyservice.key"),
                *("bridgeservice.pem", "bridgeservice.key", "ca.pem", "ca.key"),
            },
        ),
    ],
)
def test_what_has_a_third_of_its_time_left_is_renewed(
    home: Path, clock: Clock, after: timedelta, renewed: set[str]
) -> None:
    Identities(home, {}, clock).renew()
    before = contents(home)
    clock.now += after
    Identities(home, {}, clock).renew()
    assert changed(before, contents(home)) == renewed


def test_a_certificate_that_lacks_a_name_of_where_its_service_listens_now_is_issued_anew(home: Path) -> None:
    Identities(home, {}).renew()
    before = contents(home)
    Identities(home, {"KEYSERVICE_LISTEN": "192.0.2.7:1"}).renew()
    assert changed(before, contents(home)) == {"keyservice.pem", "keyservice.key"}


def test_tokens_are_made_anew_that_were_revoked_or_are_of_another_key_or_are_none(home: Path) -> None:
    identities = Identities(home, {})
    identities.renew()
    for harm in (
        lambda: revocation.change(
            identities.deny_list_file, lambda denied: denied.with_token(token_id(identities))
        ),
        identities.signing_key_file.unlink,
        lambda: identities.admin_token_file.write_text("no token"),
        identities.admin_token_file.unlink,
    ):
        before = identities.admin_token_file.read_text()
        harm()
        identities.renew()
        assert identities.admin_token_file.read_text() != before
    assert token_id(identities)


def test_a_token_that_was_revoked_by_a_list_of_somebody_s_own_is_made_anew(
    home: Path, tmp_path: Path
) -> None:
    identities = Identities(home, {"KEYSERVICE_DENY_LIST_FILE": str(tmp_path / "own.json")})
    identities.renew()
    before = identities.admin_token_file.read_text()
    own, other = identities.deny_lists.values()
    assert (own, other) == (tmp_path / "own.json", identities.deny_list_file)
    assert own is not None
    revocation.change(own, lambda denied: denied.with_token(token_id(identities)))
    identities.renew()
    assert identities.admin_token_file.read_text() != before


def token_id(identities: Identities) -> str:
    key = SigningKey.load(identities.signing_key_file)
    claims = key.read(identities.admin_token_file.read_text().strip())
    assert claims is not None
    return str(claims["jti"])


def test_a_half_made_authority_is_made_anew(home: Path) -> None:
    Identities(home, {}).renew()
    (home / "ca.key").unlink()
    before = contents(home)
    Identities(home, {}).renew()
    assert {"ca.pem", "ca.key", "keyservice.pem", "bridgeservice.pem"} <= changed(before, contents(home))


@pytest.mark.parametrize("file", ["ca.pem", "ca.key", "keyservice.pem"])
def test_a_file_that_was_spoilt_is_named(home: Path, file: str) -> None:
    Identities(home, {}).renew()
    (home / file).write_text("spoilt")
    with pytest.raises(StartupError, match=file):
        Identities(home, {}).renew()


def test_a_key_of_another_kind_in_the_authority_s_place_is_named(home: Path) -> None:
    Identities(home, {}).renew()
    (home / "ca.key").write_text((home / "signing-key.pem").read_text())
    with pytest.raises(StartupError, match=r"ca\.key is not the private key of keybridge's own authority"):
        Identities(home, {}).renew()


def test_on_the_loopback_the_services_are_told_of_tokens_and_not_of_tls(home: Path) -> None:
    identities = Identities(home, {})
    assert identities.needed
    assert identities.variables == {
        "KEYSERVICE_JWKS_FILE": str(home / "jwks.json"),
        "KEYSERVICE_DENY_LIST_FILE": str(home / "deny-list.json"),
        "BRIDGESERVICE_JWKS_FILE": str(home / "jwks.json"),
        "BRIDGESERVICE_DENY_LIST_FILE": str(home / "deny-list.json"),
        "KEYSERVICE_BRIDGE_TOKEN_FILE": str(home / "keyservice.token"),
    }
    assert not home.exists()


def test_elsewhere_they_are_told_of_their_certificates_too(home: Path) -> None:
    listen = {"BRIDGESERVICE_LISTEN": "0.0.0.0:1", "KEYSERVICE_LISTEN": "127.0.0.1:1"}
    own = Identities(home, listen).variables
    assert {name: own[name] for name in own if "TLS" in name} == {
        "BRIDGESERVICE_TLS_CERT_FILE": str(home / "bridgeservice.pem"),
        "BRIDGESERVICE_TLS_KEY_FILE": str(home / "bridgeservice.key"),
        "KEYSERVICE_BRIDGE_TLS_CA_FILE": str(home / "ca.pem"),
        "KEYSERVICE_BRIDGE_TLS_SERVER_NAME": "localhost",
    }
    assert not [name for name in Identities(home, listen | TLS).variables if "TLS" in name]


def test_what_the_variables_say_goes_before(home: Path) -> None:
    both = {"KEYSERVICE_JWKS_FILE": "/theirs", "BRIDGESERVICE_PRINCIPALS_FILE": "/theirs"}
    for environ in (both, {"KEYBRIDGE_ENV": "production"}):
        identities = Identities(home, environ)
        assert (identities.needed, identities.variables) == (False, {})
    token = {"KEYSERVICE_BRIDGE_TOKEN_FILE": "/theirs"}
    assert "KEYSERVICE_BRIDGE_TOKEN_FILE" not in Identities(home, token).variables
    one = Identities(home, {"KEYSERVICE_JWKS_FILE": "/theirs"}).variables
    assert set(one) == {
        "BRIDGESERVICE_JWKS_FILE",
        "BRIDGESERVICE_DENY_LIST_FILE",
        "KEYSERVICE_BRIDGE_TOKEN_FILE",
    }


def test_an_address_that_is_none_is_left_to_whoever_reads_the_settings(home: Path) -> None:
    assert Identities(home, {"KEYSERVICE_LISTEN": "nowhere"}).needed


async def test_renewal_goes_on_while_the_services_run_and_over_what_fails(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keybridge.identities._LOOK_EVERY", timedelta(0))
    clock = Clock()
    identities = Identities(home, {}, clock)
    asked = 0

    def renew() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise StartupError("the disk is full")
        raise InterruptedError  # the second time there is

    monkeypatch.setattr(identities, "renew", renew)
    with pytest.raises(InterruptedError):
        await identities.keep_renewed()
    assert asked == 2


def test_a_deny_list_that_was_spoilt_is_named_and_not_overwritten(home: Path) -> None:
    home.mkdir()
    (home / "deny-list.json").write_text("{")
    with pytest.raises(StartupError, match=r"deny-list\.json can't be used"):
        revocation.change(home / "deny-list.json", lambda _: DenyList())
    assert (home / "deny-list.json").read_text() == "{"


def test_a_certificate_of_another_authority_is_issued_anew(home: Path) -> None:
    Identities(home, {}).renew()
    Authority("another").issue("localhost").write(home / "keyservice.pem", home / "keyservice.key")
    before = contents(home)
    Identities(home, {}).renew()
    assert changed(before, contents(home)) == {"keyservice.pem", "keyservice.key"}
