"""What is sealed opens in its own place, whole and unchanged, or not at all."""

import base64
import itertools
import secrets
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keyservice.credentials import FIELDS
from keyservice.sealing import KEY_BYTES, Context, MalformedKey, MasterKey, NotOpened, fingerprint

KEY = MasterKey(MasterKey.generate())
CLIENTS = (UUID(int=secrets.randbits(128)), UUID(int=secrets.randbits(128)))
ROWS = (UUID(int=secrets.randbits(128)), UUID(int=secrets.randbits(128)))
PLACES = tuple(
    Context(client, row, field, version)
    for client, row, field, version in itertools.product(CLIENTS, ROWS, FIELDS, (1, 2))
)

contexts = st.builds(
    Context,
    client_id=st.uuids(),
    row_id=st.uuids(),
    field=st.text(max_size=20),
    secret_version=st.integers(min_value=0, max_value=2**63 - 1),
)


def opens(token: str, context: Context, key: MasterKey = KEY) -> bool:
    try:
        key.open(token, context)
    except NotOpened:
        return False
    return True


def test_every_ordered_swap_between_clients_rows_fields_and_versions_is_refused() -> None:
    tokens = {place: KEY.seal(secrets.token_bytes(32), place) for place in PLACES}
    opened = {(origin, place) for origin in PLACES for place in PLACES if opens(tokens[origin], place)}
    assert opened == {(place, place) for place in PLACES}
    assert len(PLACES) == 32


@given(contexts, contexts, st.binary(max_size=64))
@settings(deadline=None)
def test_a_value_opens_in_its_own_place_and_in_no_other(mine: Context, other: Context, value: bytes) -> None:
    assume(mine != other)
    token = KEY.seal(value, mine)
    assert KEY.open(token, mine) == value
    assert not opens(token, other)
    assert mine.info() != other.info()


@given(st.uuids(), st.uuids(), st.text("name_019", max_size=8), st.integers(0, 9), st.integers(0, 9))
def test_no_part_of_a_place_can_be_taken_for_the_next_part(
    client: UUID, row: UUID, field: str, first: int, second: int
) -> None:
    # Without lengths between the parts the field "x1" of version 2 would be the field "x" of version 12.
    one = Context(client, row, f"{field}{first}", second)
    other = Context(client, row, field, int(f"{first}{second}"))
    assert one.info() != other.info()


@pytest.mark.parametrize("length", [15, 16, 32])
def test_every_changed_byte_of_a_token_is_refused(length: int) -> None:
    # The lengths end in every way that base64 can end in: its spare bits must not be free to change either.
    place = PLACES[0]
    token = KEY.seal(secrets.token_bytes(length), place)
    changed = (
        token[:position] + chr(byte) + token[position + 1 :]
        for position, right in enumerate(map(ord, token))
        # Every bit of each; and every byte there is where spare bits and padding are.
        for byte in (range(256) if position >= len(token) - 4 else (right ^ 1 << bit for bit in range(8)))
        if byte != right
    )
    assert [other for other in changed if opens(other, place)] == []


def test_every_flipped_bit_of_what_a_token_encodes_is_refused() -> None:
    place = PLACES[0]
    raw = bytearray(base64.urlsafe_b64decode(KEY.seal(secrets.token_bytes(32), place)))
    for position, bit in itertools.product(range(len(raw)), range(8)):
        raw[position] ^= 1 << bit
        assert not opens(base64.urlsafe_b64encode(raw).decode(), place)
        raw[position] ^= 1 << bit
    assert opens(base64.urlsafe_b64encode(raw).decode(), place)


def test_every_truncated_token_is_refused() -> None:
    place = PLACES[0]
    token = KEY.seal(secrets.token_bytes(32), place)
    cut = [token[:length] for length in range(len(token))] + [token[start:] for start in range(1, len(token))]
    assert [other for other in cut if opens(other, place)] == []


@pytest.mark.parametrize("addition", ["=", "\n", " ", "A", "A===", "\x00", "é"])
def test_a_token_with_anything_added_is_refused(addition: str) -> None:
    place = PLACES[0]
    token = KEY.seal(secrets.token_bytes(32), place)
    assert not opens(token + addition, place)
    assert not opens(addition + token, place)


def test_another_master_key_opens_nothing() -> None:
    other = MasterKey(MasterKey.generate())
    assert not opens(KEY.seal(b"value", PLACES[0]), PLACES[0], other)
    assert other.key_id != KEY.key_id
    assert other.check_value() != KEY.check_value()


def test_sealing_the_same_value_twice_gives_two_tokens() -> None:
    assert KEY.seal(b"value", PLACES[0]) != KEY.seal(b"value", PLACES[0])


def test_a_key_never_prints() -> None:
    encoded = MasterKey.generate()
    key = MasterKey(encoded)
    raw = base64.urlsafe_b64decode(encoded)
    for shown in (repr(key), str(key), f"{key}", repr([key]), repr({"key": key})):
        assert encoded not in shown
        assert raw.hex() not in shown
        assert repr(raw)[2:-1] not in shown
        assert key.key_id in shown
    assert key.check_value() not in encoded


def test_every_truncation_of_a_key_is_malformed_and_not_repeated() -> None:
    encoded = MasterKey.generate()
    for length in range(len(encoded)):
        with pytest.raises(MalformedKey) as refusal:
            MasterKey(encoded[:length])
        assert length < 4 or encoded[:length] not in str(refusal.value)


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        " ",
        "not a key",
        "é" * 44,
        base64.urlsafe_b64encode(bytes(KEY_BYTES - 1)).decode(),
        base64.urlsafe_b64encode(bytes(KEY_BYTES + 1)).decode(),
        f" {MasterKey.generate()}",
        f"{MasterKey.generate()}\n",
    ],
    ids=["empty", "space", "words", "accents", "short", "long", "space before", "newline after"],
)
def test_what_is_no_key_is_malformed(encoded: str) -> None:
    with pytest.raises(MalformedKey):
        MasterKey(encoded)


def test_fingerprints_tell_where_a_part_ends() -> None:
    index_key = secrets.token_bytes(32)
    assert fingerprint(index_key, b"ab", b"c") != fingerprint(index_key, b"a", b"bc")
    assert fingerprint(index_key, b"ab", b"c") == fingerprint(index_key, b"ab", b"c")
    assert fingerprint(secrets.token_bytes(32), b"ab", b"c") != fingerprint(index_key, b"ab", b"c")
