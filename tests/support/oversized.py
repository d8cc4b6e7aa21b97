"""Requests made from a contract, each with one field that is far too long, however deep it lies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_TEXTS: dict[int, Any] = {FieldDescriptor.TYPE_STRING: "x", FieldDescriptor.TYPE_BYTES: b"x"}
# A message within itself would lead on for ever.
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Oversized:
    """One such request, and the field as a refusal has to name it."""

    method: MethodDescriptor
    field: str
    request: Message


def long_texts(method: MethodDescriptor, length: int) -> Iterator[Oversized]:
    """Every text of the request in turn with so many characters: those in lists and maps too, and a map's names."""
    for steps in _paths(method.input_type.fields):
        *way, last = steps
        if (values := _map_entry(last)) is not None:
            short = _filling(values)
            entries = [("x" * length, short)]
            if values.type in _TEXTS:
                entries.append(("x", short * length))
            for name, value in entries:
                request, parent = _reached(method, way)
                getattr(parent, last.name)[name] = value
                yield Oversized(method, _path(steps), request)
        elif last.type in _TEXTS:
            request, parent = _reached(method, way)
            text = _TEXTS[last.type] * length
            if last.is_repeated:
                getattr(parent, last.name).append(text)
            else:
                setattr(parent, last.name, text)
            yield Oversized(method, _path(steps, place="[0]" if last.is_repeated else ""), request)


def long_lists(method: MethodDescriptor, entries: int) -> Iterator[Oversized]:
    """Every list and map of the request in turn with so many entries."""
    for steps in _paths(method.input_type.fields):
        *way, last = steps
        if not last.is_repeated:
            continue
        request, parent = _reached(method, way)
        for number in range(entries):
            _add(getattr(parent, last.name), last, number)
        yield Oversized(method, _path(steps), request)


def _paths(fields: Any, before: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    for field in fields:
        steps = (*before, field)
        yield steps
        if field.message_type is not None and _map_entry(field) is None and len(steps) < _DEEPEST:
            yield from _paths(field.message_type.fields, steps)


def _map_entry(field: FieldDescriptor) -> FieldDescriptor | None:
    """What a map's values are; None for what is no map."""
    if field.message_type is None or not field.message_type.GetOptions().map_entry:
        return None
    return field.message_type.fields_by_name["value"]


def _reached(method: MethodDescriptor, way: list[FieldDescriptor]) -> tuple[Message, Any]:
    """An empty request, and the message within it to which these steps lead."""
    request = GetMessageClass(method.input_type)()
    parent: Any = request
    for step in way:
        parent = getattr(parent, step.name)
        if step.is_repeated:
            parent = parent.add()
    return request, parent


def _add(entries: Any, field: FieldDescriptor, number: int) -> None:
    if (values := _map_entry(field)) is not None:
        entries[f"name {number}"] = _filling(values)
    elif field.message_type is not None:
        entries.add()
    else:
        entries.append(_filling(field))


def _filling(field: FieldDescriptor) -> Any:
    """What stands in a field that is no message."""
    return _TEXTS.get(field.type, 1)


def _path(steps: tuple[FieldDescriptor, ...], place: str = "") -> str:
    *way, last = steps
    return (
        ".".join([f"{each.name}[0]" if each.is_repeated else each.name for each in way] + [last.name]) + place
    )
