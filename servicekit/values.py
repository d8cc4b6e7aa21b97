"""The kinds of value that a setting can have beyond pydantic's own: address, duration, secrets, table."""

import ipaddress
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SHORTEST = 0.001  # what is shorter would become 0 on its way to PostgreSQL, and that means never
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:\[\]]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens: a host and a port; port 0 lets the system choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "host:port" or "[::1]:port"; anything else is a ValueError that says so."""
        match = _ADDRESS.fullmatch(text.strip())
        if match is None or int(match["port"]) > 65535:
            raise ValueError("should be host:port, such as 127.0.0.1:50051 or [::1]:50051")
        if match["v6"] is None:
            return cls(match["name"], int(match["port"]))
        try:
            return cls(str(ipaddress.IPv6Address(match["v6"])), int(match["port"]))
        except ipaddress.AddressValueError:
            raise ValueError("should have a valid IPv6 address between its brackets") from None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost counts as reachable."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def with_port(self, port: int) -> "Address":
        """The same host with the port that the system chose."""
        return Address(self.host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError("should be host:port")  # pydantic makes its own of a ValueError only

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )


def parse_duration(value: object) -> object:
    """Read "3s", "500ms", "2m", "24h", "7d" or a plain number of seconds; a timedelta passes as it is."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("should be a duration, such as 500ms, 3s, 2m or 24h")
    seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if 0 < seconds < _SHORTEST:
        raise ValueError("should be 0 or at least 1ms")
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError("should be a duration of less than a million days") from None


def format_duration(duration: timedelta) -> str:
    """Write a duration as a person would set it: the largest unit that leaves a whole number."""
    milliseconds = round(duration.total_seconds() * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def _positive(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("should be longer than nothing")
    return duration


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _decode(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        raise ValueError('should be a JSON object, such as {"name": "value"}') from None


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
StringList = Annotated[tuple[str, ...], BeforeValidator(_split)]
SecretList = Annotated[tuple[SecretStr, ...], BeforeValidator(_split)]
StringMap = Annotated[dict[str, str], BeforeValidator(_decode)]
