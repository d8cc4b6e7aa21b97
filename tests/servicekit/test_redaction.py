"""What may be written of a value or an exception, and that nothing else is."""

import secrets
import traceback
from collections import UserDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from sqlalchemy.exc import IntegrityError

from servicekit.errors import NotFound, SettingsError
from servicekit.redaction import describe, format_exception, printable, printable_fields
from servicekit.values import Address


class Colour(Enum):
    RED = "a value"


class Size(IntEnum):
    BIG = 7


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Counted(int):
    __slots__ = ()


@dataclass
class Holder:
    message: object


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (Counted(7), 7),
        (1.5, 1.5),
        (float("inf"), "inf"),
        ("text", "text"),
        (Loud("text"), "text"),
        (Colour.RED, "RED"),
        (Size.BIG, "BIG"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("/a/b"), "/a/b"),
        (Address("::1", 5), "[::1]:5"),
        (ip_address("10.0.0.1"), "10.0.0.1"),
        (timedelta(seconds=3), "0:00:03"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (b"abc", "<3 bytes>"),
        (bytearray(2), "<2 bytes>"),
        (SecretStr("x"), "**********"),
        (SecretBytes(b"x"), "**********"),
        (dict, "dict"),
        (object(), "<object>"),
        ({"a": [1, (b"x",)], 2: {"b"}}, {"a": [1, ["<1 bytes>"]], "2": ["b"]}),
    ],
)
def test_plain_values_are_written_and_the_rest_is_named(value: object, written: object) -> None:
    assert printable(value) == written


def test_no_message_is_written_however_it_is_wrapped() -> None:
    secret = secrets.token_hex()
    message = error_details_pb2.ErrorInfo(reason=secret, metadata={"key": secret})
    details = error_details_pb2.BadRequest(field_violations=[{"field": secret}])
    struct = Struct()
    struct.update({"key": secret})
    wrapped = [
        message,
        message.metadata,
        details.field_violations,
        error_details_pb2.DebugInfo(stack_entries=[secret]).stack_entries,
        struct,
        Holder(message),
        UserDict({"key": message}),
        {"list": [{"deep": (message,)}]},
        {message.reason and 1: message},
    ]
    for value in wrapped:
        assert secret not in repr(printable(value))
    assert printable(message) == "<google.rpc.ErrorInfo>"


def test_what_is_nested_too_deeply_is_cut() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert repr(printable(loop)) == "[" * 6 + "'…'" + "]" * 6


@pytest.mark.parametrize(
    "name", ["api_secret", "API_KEY", "passphrase", "password", "authorization", "extra"]
)
def test_a_field_with_the_name_of_a_secret_is_masked_at_every_depth(name: str) -> None:
    secret = secrets.token_hex()
    assert secret not in repr(printable_fields({name: secret, "inner": [{name: {"deeper": secret}}]}))
    assert printable_fields({name: ""}) == {name: ""}, "that nothing was given may be seen"


def test_our_own_errors_keep_their_text_and_foreign_ones_do_not() -> None:
    secret = secrets.token_hex()
    assert describe(NotFound("no such key")) == "servicekit.errors.NotFound: no such key"
    assert describe(SettingsError("LISTEN is odd")) == "servicekit.errors.SettingsError: LISTEN is odd"
    assert describe(ValueError(secret)) == "ValueError"
    assert describe(AttributeError("no attribute 'x'")) == "AttributeError: no attribute 'x'"
    assert describe(FileNotFoundError(2, secret, secret)) == "FileNotFoundError: No such file or directory"
    assert describe(OSError(secret)) == "OSError"
    assert (
        printable(IntegrityError("INSERT", {"key": secret}, ValueError(secret)))
        == "sqlalchemy.exc.IntegrityError"
    )


class Form(BaseModel):
    number: int


def _fails_with(secret: str) -> None:
    hidden = secret + secret
    try:
        Form.model_validate({"number": hidden})
    except ValidationError as error:
        raise IntegrityError(hidden, {"key": hidden}, error) from error


def test_a_traceback_keeps_frames_and_causes_but_no_values() -> None:
    secret = secrets.token_hex()
    with pytest.raises(IntegrityError) as caught:
        _fails_with(secret)
    assert secret in "".join(traceback.format_exception(caught.value)), "else this test shows nothing"
    written = format_exception(caught.value)
    assert secret not in written
    assert "in _fails_with" in written
    assert "raise IntegrityError(" in written
    assert (
        written.index("pydantic_core")
        < written.index("which was the cause of:")
        < written.index("sqlalchemy.exc")
    )


def test_what_was_being_handled_is_told_unless_it_was_suppressed() -> None:
    first, second = ValueError(), KeyError()
    second.__context__ = first
    assert format_exception(second) == "ValueError\nwhich led to:\nKeyError"
    second.__suppress_context__ = True
    assert format_exception(second) == "KeyError"


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert "ValueError (shown above)" in format_exception(first)


def test_every_error_of_a_group_is_told() -> None:
    secret = secrets.token_hex()
    written = format_exception(ExceptionGroup(secret, [NotFound("no such key"), ValueError(secret)]))
    assert secret not in written
    assert written.split("\n") == [
        "ExceptionGroup",
        "  1 of 2 in this group:",
        "    servicekit.errors.NotFound: no such key",
        "  2 of 2 in this group:",
        "    ValueError",
    ]
