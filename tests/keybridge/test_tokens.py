"""``keybridge token``: tokens that services take, and ones that they take no more."""

import stat
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from keybridge import tokens
from keybridge.identities import Identities
from keybridge.signing import new_key
from servicekit.errors import Unauthenticated
from servicekit.rpc.deny_list import DenyList
from servicekit.rpc.policy import ROLES
from servicekit.rpc.principal import Principal
from servicekit.rpc.tokens import TokenOptions, Tokens
from tests.keybridge.conftest import Done, Here, Start

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed448.Ed448PrivateKey
KEYS: dict[str, Callable[[], PrivateKey]] = {
    "EdDSA": Ed25519PrivateKey.generate,
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
}


@pytest.fixture
def home(place: Path) -> Path:
    """KEYBRIDGE_HOME, as an `up` has left it."""
    Identities(place / "home", {}).renew()
    return place / "home"


def takes(jwks_file: Path, deny_list: Path | None = None, audience: str = "keyservice") -> Tokens:
    options = TokenOptions(
        jwks_file=jwks_file,
        issuer="keybridge",
        audience=audience,
        leeway=timedelta(0),
        deny_list_file=deny_list,
    )
    return Tokens(options)


async def said(keybridge: Start, *arguments: str, status: int = 0, **variables: str) -> list[str]:
    running = await keybridge("token", *arguments, measured=True, **variables)
    assert await running.ends() == status, running.said
    return running.said.splitlines()


async def test_a_token_says_what_was_asked_for_and_stands_alone_on_standard_output(
    keybridge: Start, home: Path
) -> None:
    one, other = str(uuid4()), str(uuid4())
    clients = ("--client", one, "--client", other)
    token, note = sorted(
        await said(keybridge, "mint", "--role", "trader", *clients, "--subject", "ada", "--ttl", "5m"),
        key=len,
    )[::-1]
    principal = Principal("ada", ROLES["trader"], frozenset({UUID(one), UUID(other)}))
    assert takes(home / "jwks.json").principal(token) == principal
    assert takes(home / "jwks.json", audience="bridgeservice").principal(token) == principal
    assert note.startswith("token ")
    assert " for ada, trader, until " in note
    assert token not in note


async def test_a_token_may_be_for_one_service_and_for_all_clients(keybridge: Start, home: Path) -> None:
    lines = await said(keybridge, "mint", "--role", "reader", "--client", "*", "--audience", "keyservice")
    token = max(lines, key=len)
    assert takes(home / "jwks.json").principal(token).clients is None
    with pytest.raises(Unauthenticated, match="for another service"):
        takes(home / "jwks.json", audience="bridgeservice").principal(token)


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_key_of_one_s_own_signs_and_its_public_part_is_what_services_need(
    keybridge: Start, place: Path, algorithm: str
) -> None:
    key_file = place / "key.pem"
    key_file.write_text(pem(KEYS[algorithm]()))
    public = await said(keybridge, "jwks", "--key-file", str(key_file))
    (place / "jwks.json").write_text("\n".join(public))
    lines = await said(keybridge, "mint", "--key-file", str(key_file), "--role", "admin", "--client", "*")
    assert takes(place / "jwks.json").principal(max(lines, key=len)).role == ROLES["admin"]
    assert not (place / "home").exists()


async def test_one_token_is_revoked_by_its_id(keybridge: Start, home: Path) -> None:
    one, other = [
        sorted(await said(keybridge, "mint", "--role", "reader", "--client", "*"), key=len) for _ in range(2)
    ]
    token_id = one[0].split()[1]
    [told] = await said(keybridge, "revoke", "--jti", token_id)
    assert told == f"The token {token_id} is denied, by {home / 'deny-list.json'}."
    taken = takes(home / "jwks.json", home / "deny-list.json")
    with pytest.raises(Unauthenticated, match="was revoked"):
        taken.principal(one[1])
    taken.principal(other[1])


async def test_all_that_somebody_was_given_before_is_revoked(keybridge: Start, home: Path) -> None:
    adas, bobs = [
        max(await said(keybridge, "mint", "--role", "reader", "--client", "*", "--subject", who), key=len)
        for who in ("ada", "bob")
    ]
    await said(keybridge, "revoke", "--subject", "bob", "--before", "2020-01-01")
    [told] = await said(keybridge, "revoke", "--subject", "ada")
    assert told.startswith("Tokens of ada issued before ")
    taken = takes(home / "jwks.json", home / "deny-list.json")
    with pytest.raises(Unauthenticated, match="was revoked"):
        taken.principal(adas)
    taken.principal(bobs)


async def revoke_one(environ: Mapping[str, str], say: Callable[[str], None], _undo: object) -> None:
    await tokens.revoke_token(environ, say, None, "one")


DENY_LISTS = ("KEYSERVICE_DENY_LIST_FILE", "BRIDGESERVICE_DENY_LIST_FILE")


async def test_a_token_is_denied_by_the_lists_that_the_services_are_told_of(
    keybridge: Start, place: Path
) -> None:
    """And stays readable for the account that they run as, also where the name that they know is a link's."""
    shared, own, link = (place / name for name in ("shared.json", "own.json", "link.json"))
    for file in (shared, own):
        file.write_text(DenyList().text())
        file.chmod(0o644)
    link.symlink_to(shared)
    [told] = await said(
        keybridge,
        *("revoke", "--jti", "one"),
        KEYBRIDGE_ENV="production",
        KEYSERVICE_DENY_LIST_FILE=str(own),
        BRIDGESERVICE_DENY_LIST_FILE=str(link),
    )
    assert told == f"The token one is denied, by {own} and {link}."
    for file in (own, link, shared):
        assert DenyList.read(file.read_text()).denies({"jti": "one"})
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert link.is_symlink()
    assert not (place / "home").exists()


async def test_one_list_for_both_services_is_named_once(here: Here, place: Path) -> None:
    variables = {name: str(place / "shared.json") for name in DENY_LISTS}
    done = await here(revoke_one, **variables)
    assert done == Done(0, f"The token one is denied, by {place / 'shared.json'}.\n")


async def test_a_service_that_goes_on_to_take_the_token_is_named(here: Here, place: Path) -> None:
    variables = {"KEYSERVICE_DENY_LIST_FILE": str(place / "own.json"), "KEYBRIDGE_ENV": "production"}
    done = await here(revoke_one, **variables)
    assert done.status == 0
    assert "BRIDGESERVICE_DENY_LIST_FILE is not set: if that service takes tokens, it still" in done.said


@pytest.mark.parametrize(
    "variables",
    [
        {"KEYBRIDGE_ENV": "production"},
        {"KEYSERVICE_JWKS_FILE": "/keys.json", "BRIDGESERVICE_JWKS_FILE": "/keys.json"},
    ],
)
async def test_where_no_service_would_follow_it_nothing_is_called_denied(
    here: Here, place: Path, variables: dict[str, str]
) -> None:
    done = await here(revoke_one, **variables)
    assert done.status == 2
    assert f"No service is told of a deny-list: set {' and '.join(DENY_LISTS)}, or name" in done.said
    assert not (place / "home").exists()


async def test_a_deny_list_of_one_s_own_is_made_where_there_is_none(keybridge: Start, place: Path) -> None:
    await said(keybridge, "revoke", "--jti", "one", "--deny-list", str(place / "denied.json"))
    assert '"one"' in (place / "denied.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--role", "root", "--client", "*"), "No such token can be made: the role should be one of reader,"),
        (
            ("--role", "reader", "--client", "ada"),
            "No such token can be made: one of the clients is not the id",
        ),
        (("--role", "reader", "--client", "*", "--client", "ada"), "--client * stands for all clients"),
        (
            ("--role", "reader", "--client", "*", "--subject", "adoption"),
            "the name adoption stands for nobody",
        ),
        (("--role", "reader", "--client", "*", "--ttl", "soon"), "--ttl should be a duration"),
        (("--role", "reader", "--client", "*", "--ttl", "0"), "--ttl should be longer than nothing"),
        (
            ("--role", "reader", "--client", "*", "--key-file", "/absent"),
            "/absent can't be read: No such file",
        ),
    ],
)
async def test_what_cannot_be_minted_is_one_sentence(
    keybridge: Start, home: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    [told] = await said(keybridge, "mint", *arguments, status=2)
    assert told.startswith("keybridge: ")
    assert sentence in told


async def test_without_an_up_there_is_no_key_to_sign_with(keybridge: Start, place: Path) -> None:
    [told] = await said(keybridge, "mint", "--role", "reader", "--client", "*", status=2)
    assert "keybridge up makes one; or name yours with --key-file" in told
    assert not (place / "home").exists()


@pytest.mark.parametrize(
    "arguments", [(), ("--jti", "a", "--subject", "b"), ("--jti", "a", "--before", "2020-01-01")]
)
async def test_it_has_to_be_clear_what_to_revoke(
    keybridge: Start, home: Path, arguments: tuple[str, ...]
) -> None:
    before = (home / "deny-list.json").read_text()
    assert any("say either" in line for line in await said(keybridge, "revoke", *arguments, status=2))
    assert (home / "deny-list.json").read_text() == before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no key", "is not a private key in PEM without a password"),
        ("encrypted", "is not a private key in PEM without a password"),
        ("P-384", "is of the curve secp384r1; P-256 is needed"),
        ("Ed448", "should be of Ed25519, P-256 or RSA"),
    ],
)
async def test_a_key_that_cannot_sign_is_one_sentence(
    keybridge: Start, place: Path, text: str, sentence: str
) -> None:
    made = {
        "encrypted": lambda: pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"password")),
        "P-384": lambda: pem(ec.generate_private_key(ec.SECP384R1())),
        "Ed448": lambda: pem(ed448.Ed448PrivateKey.generate()),
    }
    (place / "key.pem").write_text(made[text]() if text in made else text)
    [told] = await said(keybridge, "jwks", "--key-file", str(place / "key.pem"), status=2)
    assert sentence in told


def test_every_new_key_is_another() -> None:
    assert new_key() != new_key()


def pem(key: PrivateKey, encryption: KeySerializationEncryption | None = None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode()
