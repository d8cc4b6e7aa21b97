"""Reading settings out of environment variables: their names, their files, and every complaint about them.

Nothing here looks at ``os.environ``: the mapping is handed in. A secret's value is never part of a complaint.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo

SHARED_PREFIX = "KEYBRIDGE_"

# Kubernetes announces every Service of a namespace in the variables of every pod. One that is named
# "keyservice" must not stop the KeyService, so these are passed over.
_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")

_EXPECTED = {
    "int_parsing": "should be a whole number",
    "bool_parsing": "should be true or false",
    "dict_type": "should be a JSON object",
}


class Named:
    """The variables that a field is read from, the first one given wins; "{prefix}" is the service's own."""

    def __init__(self, *templates: str) -> None:
        self.templates = templates


@dataclass
class Reading:
    """What the variables say: raw values by field, the variable that each came from, and what is wrong."""

    values: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def holds_secret(annotation: object) -> bool:
    """Whether a type is, or contains, one of pydantic's secret types."""
    if annotation in (SecretStr, SecretBytes):
        return True
    return any(holds_secret(part) for part in get_args(annotation))


def secret_names(model: type[BaseModel], prefix: str) -> set[str]:
    """Every variable of ``model`` whose value is a secret."""
    return {
        variable
        for name, info in model.model_fields.items()
        if holds_secret(info.annotation)
        for variable in names(name, info, prefix)
    }


def names(name: str, info: FieldInfo, prefix: str) -> tuple[str, ...]:
    """The variables of a field, the one that wins first; without a mark, the prefix and the field's name."""
    for mark in info.metadata:
        if isinstance(mark, Named):
            return tuple(each.format(prefix=prefix) for each in mark.templates)
    return (prefix + name.upper(),)


def read(
    model: type[BaseModel], prefix: str, environ: Mapping[str, str], also_known: Iterable[str]
) -> Reading:
    """Read every field of ``model``. A variable that is set to nothing counts as not set."""
    reading = Reading()
    known = set(also_known)
    for name, info in model.model_fields.items():
        secret = holds_secret(info.annotation)
        for variable in names(name, info, prefix):
            known.add(variable)
            if secret:
                known.add(f"{variable}_FILE")
            if name not in reading.origins:
                _read_variable(reading, name, variable, environ, secret=secret)
    reading.problems.extend(_unknown(known, prefix, environ))
    return reading


def complaints(error: ValidationError, model: type[BaseModel], prefix: str, reading: Reading) -> list[str]:
    """Put pydantic's findings into our words, each naming its variable; a secret's value is left out."""
    found = []
    for detail in error.errors(include_url=False):
        name = str(detail["loc"][0]) if detail["loc"] else ""
        if name not in model.model_fields:
            found.append(
                _expectation(detail["type"], detail["msg"])
            )  # a rule across fields names them itself
            continue
        info = model.model_fields[name]
        variable = reading.origins.get(name, names(name, info, prefix)[0])
        if detail["type"] == "missing" and name in reading.origins:
            continue  # its file was complained of already
        if detail["type"] == "missing":
            found.append(f"{variable} is required and is not set")
            continue
        expected = _expectation(detail["type"], detail["msg"])
        raw = reading.values.get(name, "")
        if holds_secret(info.annotation):
            found.append(f"{variable} {_without(raw, expected)}")
        else:
            found.append(f"{variable} {expected}, not {raw!r}")
    return found


def _read_variable(
    reading: Reading, name: str, variable: str, environ: Mapping[str, str], *, secret: bool
) -> None:
    value, path = environ.get(variable, ""), environ.get(f"{variable}_FILE", "") if secret else ""
    if value and path:
        reading.problems.append(f"{variable} and {variable}_FILE are both set; only one of them may be")
    if value:
        reading.values[name], reading.origins[name] = value, variable
    elif path:
        reading.origins[name] = f"{variable}_FILE"
        if content := _read_secret_file(reading, f"{variable}_FILE", Path(path)):
            reading.values[name] = content


def _read_secret_file(reading: Reading, variable: str, path: Path) -> str:
    try:
        content = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        reading.problems.append(f"{variable} names a file that cannot be read ({path}: {error.strerror})")
    except ValueError:  # not UTF-8, or a path with a zero byte in it
        reading.problems.append(f"{variable} names a file that is not text ({path})")
    else:
        if content:
            return content
        reading.problems.append(f"{variable} names a file that is empty ({path})")
    return ""


def _unknown(known: set[str], prefix: str, environ: Mapping[str, str]) -> list[str]:
    found = []
    for variable in sorted(environ):
        if variable in known or not variable.startswith((prefix, SHARED_PREFIX)):
            continue
        if _from_kubernetes(variable.removeprefix(prefix), environ[variable]):
            continue
        nearest = difflib.get_close_matches(variable, sorted(known), n=1, cutoff=0)
        found.append(f"{variable} is not a known setting (the nearest known one is {nearest[0]})")
    return found


def _from_kubernetes(name: str, value: str) -> bool:
    # KEYSERVICE_PORT=50051 is a person's mistake, KEYSERVICE_PORT=tcp://10.0.0.7:50051 is Kubernetes.
    return _KUBERNETES.fullmatch(name) is not None and (name != "PORT" or "://" in value)


def _expectation(kind: str, message: str) -> str:
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    return message.removeprefix("Value error, ").replace("Input should", "should", 1)


def documentation(info: FieldInfo) -> str:
    """A field's documentation as one paragraph."""
    return " ".join((info.description or "").split())


def raw_default(info: FieldInfo) -> Any:  # a field's default is of the field's own type
    """A field's default, or None where it has none."""
    return None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})


def _without(secret: str, sentence: str) -> str:
    """Take a secret, whole or a part of a list, out of a sentence: a validator may have quoted its input."""
    for part in sorted({secret, *secret.split(",")}, key=len, reverse=True):
        if part.strip():
            sentence = sentence.replace(part.strip(), "…")
    return sentence
