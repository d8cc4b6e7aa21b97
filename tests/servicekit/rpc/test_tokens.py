"""Bearer tokens: which are good, what is told of the others, and what changes while the service runs."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.errors import Unauthenticated
from servicekit.rpc.deny_list import DenyList
from servicekit.rpc.policy import ROLES
from servicekit.rpc.principal import Principal
from servicekit.rpc.tokens import TokenOptions, Tokens
from tests.support.issuer import Issuer, tampered

MINUTE = 60
each_algorithm = pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def options(tmp_path: Path, issuer: Issuer) -> TokenOptions:
    issuer.write(tmp_path / "jwks.json")
    (tmp_path / "denied.json").write_text(DenyList().text())
    return TokenOptions(
        jwks_file=tmp_path / "jwks.json",
        issuer="keybridge",
        audience="keyservice",
        leeway=timedelta(seconds=10),
        deny_list_file=tmp_path / "denied.json",
        look_every=timedelta(0),
    )


@pytest.fixture
def tokens(options: TokenOptions) -> Tokens:
    return Tokens(options)


def refusal(tokens: Tokens, token: str) -> tuple[str, str]:
    with pytest.raises(Unauthenticated) as caught:
        tokens.principal(token)
    assert token == "" or token not in caught.value.message
    return caught.value.reason, caught.value.message


@each_algorithm
def test_a_token_of_each_algorithm_says_who_calls(options: TokenOptions, algorithm: str) -> None:
    issuer, one = Issuer(algorithm), str(uuid4())
    issuer.write(options.jwks_file)
    found = Tokens(options).principal(issuer.token(sub="alice", role="trader", clients=[one]))
    assert found == Principal("alice", ROLES["trader"], frozenset({UUID(one)}))


FORGED: dict[str, Callable[[Issuer], str]] = {
    "a bad signature": lambda issuer: tampered(issuer.token()),
    "another key of the same name": lambda issuer: Issuer(issuer.algorithm).token(
        headers={"kid": issuer.key_id}
    ),
    "a key that nobody knows": lambda issuer: Issuer(issuer.algorithm).token(),
    "no signature": lambda issuer: issuer.unsigned(),
    "the public key as a shared secret": lambda issuer: issuer.swapped(),
    "another algorithm's name": lambda issuer: odd_header(issuer.token(), alg="HS256"),
    "a name of a key that is no text": lambda issuer: odd_header(issuer.token(), kid=[1]),
    "a header that has to be understood": lambda issuer: issuer.token(
        headers={"crit": ["b64"], "b64": False}
    ),
    "an empty token": lambda _: "",
    "a text": lambda _: "hello",
    "deep nesting": lambda _: f"{encoded(b'[' * 9000)}.e30.AA",
    "a huge number": lambda _: f"{encoded(b'1' * 9000)}.e30.AA",
    "an end that is no number": lambda issuer: issuer.token(exp="soon"),
    "an end beyond all numbers": lambda issuer: issuer.token(exp=float("inf")),
}


@each_algorithm
@pytest.mark.parametrize("how", FORGED)
def test_what_no_key_of_ours_signed_is_refused_and_nobody_is_told_why(
    options: TokenOptions, algorithm: str, how: str
) -> None:
    issuer = Issuer(algorithm)
    issuer.write(options.jwks_file)
    assert refusal(Tokens(options), FORGED[how](issuer)) == (
        "TOKEN_INVALID",
        "The token is not one that a key of this service signed.",
    )


OURS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": time() - MINUTE}, "TOKEN_EXPIRED"),
    "not yet valid": ({"nbf": time() + 86400}, "TOKEN_NOT_YET_VALID"),
    "issued tomorrow": ({"iat": time() + 86400}, "TOKEN_NOT_YET_VALID"),
    "for another": ({"aud": "another"}, "TOKEN_NOT_FOR_THIS_SERVICE"),
    "for others": ({"aud": ["another", "keyservice2"]}, "TOKEN_NOT_FOR_THIS_SERVICE"),
    "of another issuer": ({"iss": "another"}, "TOKEN_NOT_FOR_THIS_SERVICE"),
    "no end": ({"without": ("exp",)}, "TOKEN_CLAIMS_INVALID"),
    "for nobody": ({"without": ("aud",)}, "TOKEN_CLAIMS_INVALID"),
    "of nobody": ({"without": ("iss",)}, "TOKEN_CLAIMS_INVALID"),
    "about nobody": ({"without": ("sub",)}, "TOKEN_CLAIMS_INVALID"),
    "without a role": ({"without": ("role",)}, "TOKEN_CLAIMS_INVALID"),
    "without clients": ({"without": ("clients",)}, "TOKEN_CLAIMS_INVALID"),
    "of a role that there is not": ({"role": "root"}, "TOKEN_CLAIMS_INVALID"),
    "of two roles": ({"role": ["reader", "admin"]}, "TOKEN_CLAIMS_INVALID"),
    "of odd clients": ({"clients": ["*"]}, "TOKEN_CLAIMS_INVALID"),
    "about an odd subject": ({"sub": "two\nlines"}, "TOKEN_CLAIMS_INVALID"),
}


@pytest.mark.parametrize("what", OURS)
def test_the_holder_of_a_token_of_ours_hears_what_is_wrong_with_it(
    tokens: Tokens, issuer: Issuer, what: str
) -> None:
    claims, reason = OURS[what]
    assert refusal(tokens, issuer.token(**claims))[0] == reason
    # And whoever has changed something in it hears nothing.
    assert refusal(tokens, tampered(issuer.token(**claims)))[0] == "TOKEN_INVALID"


def test_clocks_may_differ_a_little(tokens: Tokens, issuer: Issuer) -> None:
    tokens.principal(issuer.token(exp=time() - 5))
    tokens.principal(issuer.token(nbf=time() + 5, iat=time() + 5))


def test_a_token_may_do_without_an_id_and_a_time_of_issue(tokens: Tokens, issuer: Issuer) -> None:
    assert tokens.principal(issuer.token(without=("jti", "iat"))).name == "somebody"


def test_a_token_is_verified_once_and_still_not_good_beyond_its_end(
    options: TokenOptions, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time()
    tokens = Tokens(options, clock=lambda: now)
    verified: list[str] = []
    decode = jwt.decode

    def counted(token: str, *args: Any, **more: Any) -> Any:
        verified.append(token)
        return decode(token, *args, **more)

    monkeypatch.setattr("jwt.decode", counted)
    # As a token from which the leeway has been taken: the library has a clock of its own.
    token = issuer.token(exp=time() - 5)
    for _ in range(3):
        tokens.principal(token)
    assert verified == [token]
    now = time() + 6
    tokens.principal(token)
    assert verified == [token, token]


def test_a_token_that_expires_while_it_is_remembered_is_refused(
    options: TokenOptions, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time()
    tokens = Tokens(options, clock=lambda: now)
    token = issuer.token()
    tokens.principal(token)

    class Later:
        """The library's clock, which cannot be handed in."""

        @staticmethod
        def now(tz: Any) -> datetime:
            return datetime.fromtimestamp(now, tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Later)
    now += 3600 + 11
    assert refusal(tokens, token)[0] == "TOKEN_EXPIRED"


def test_few_tokens_are_remembered(
    options: TokenOptions, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servicekit.rpc.tokens._MOST_REMEMBERED", 2)
    tokens = Tokens(options)
    for number in range(5):
        tokens.principal(issuer.token(sub=f"user {number}"))
    assert len(tokens._verified) == 2


def test_a_revoked_token_is_refused_although_it_was_good_before(
    tokens: Tokens, issuer: Issuer, options: TokenOptions
) -> None:
    assert options.deny_list_file is not None
    one, other = issuer.token(jti="one"), issuer.token(jti="other")
    tokens.principal(one)
    options.deny_list_file.write_text(DenyList().with_token("one").text())
    assert refusal(tokens, one) == ("TOKEN_REVOKED", "The token was revoked.")
    tokens.principal(other)


def test_all_tokens_of_somebody_are_refused_that_were_issued_before(
    tokens: Tokens, issuer: Issuer, options: TokenOptions
) -> None:
    assert options.deny_list_file is not None
    now = datetime.now(UTC)
    before, since = issuer.token(iat=now.timestamp() - MINUTE), issuer.token(iat=now.timestamp() + 1)
    undated, bobs = issuer.token(without=("iat",)), issuer.token(sub="bob", iat=0)
    options.deny_list_file.write_text(DenyList().with_subject("somebody", now).text())
    assert refusal(tokens, before)[0] == "TOKEN_REVOKED"
    assert refusal(tokens, undated)[0] == "TOKEN_REVOKED"
    tokens.principal(since)
    tokens.principal(bobs)


def test_keys_are_exchanged_while_the_service_runs(
    tokens: Tokens, issuer: Issuer, options: TokenOptions
) -> None:
    old, successor = issuer.token(), Issuer("ES256")
    tokens.principal(old)
    issuer.write(options.jwks_file, successor)
    tokens.principal(old)
    tokens.principal(successor.token())
    successor.write(options.jwks_file)
    assert refusal(tokens, old)[0] == "TOKEN_INVALID"
    tokens.principal(successor.token())


def test_a_broken_file_changes_nothing(tokens: Tokens, issuer: Issuer, options: TokenOptions) -> None:
    assert options.deny_list_file is not None
    options.deny_list_file.write_text(DenyList().with_token("one").text())
    assert refusal(tokens, issuer.token(jti="one"))[0] == "TOKEN_REVOKED"
    options.deny_list_file.write_text('{"tokens": [')
    options.jwks_file.unlink()
    assert refusal(tokens, issuer.token(jti="one"))[0] == "TOKEN_REVOKED"
    tokens.principal(issuer.token())


FUZZED = Issuer()


@pytest.fixture(scope="module")
def fuzzed_tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    file = tmp_path_factory.mktemp("fuzzed") / "jwks.json"
    FUZZED.write(file)
    return Tokens(
        TokenOptions(jwks_file=file, issuer="keybridge", audience="keyservice", leeway=timedelta(seconds=10))
    )


@given(junk=st.binary(max_size=60), place=st.integers(0, 400))
def test_whatever_is_done_to_a_token_it_is_refused_in_our_words(
    fuzzed_tokens: Tokens, junk: bytes, place: int
) -> None:
    raw = FUZZED.token().encode()
    broken = (raw[:place] + junk + raw[place + len(junk) :]).decode(errors="replace")
    if broken.encode() != raw:
        assert refusal(fuzzed_tokens, broken)[0] == "TOKEN_INVALID"


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def odd_header(token: str, **fields: Any) -> str:
    """The token with fields in its header that the library would not write."""
    head, rest = token.split(".", 1)
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    return f"{encoded(json.dumps(header | fields).encode())}.{rest}"
