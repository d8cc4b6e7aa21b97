"""Whoever reads a contract learns from it what each thing means."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

OURS = ("servicekit/", "keyservice/", "bridgeservice/")

# Where an element stands in its file, as SourceCodeInfo counts: field numbers of the descriptor, and indexes.
Place = tuple[int, ...]
Element = tuple[str, Place]


def _of_file(file: FileDescriptorProto) -> Iterator[Element]:
    for i, message in enumerate(file.message_type):
        yield from _of_message(message, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, i), file.package)
    for i, enum in enumerate(file.enum_type):
        yield from _of_enum(enum, (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, i), file.package)
    for i, service in enumerate(file.service):
        yield from _of_service(service, (FileDescriptorProto.SERVICE_FIELD_NUMBER, i), file.package)
    for i, extension in enumerate(file.extension):
        yield f"{file.package}.{extension.name}", (FileDescriptorProto.EXTENSION_FIELD_NUMBER, i)


def _of_message(message: DescriptorProto, place: Place, scope: str) -> Iterator[Element]:
    if message.options.map_entry:
        return  # made by the compiler for a map: nobody wrote it
    name = f"{scope}.{message.name}"
    yield name, place
    for i, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*place, DescriptorProto.FIELD_FIELD_NUMBER, i)
    for i, oneof in enumerate(message.oneof_decl):
        yield f"{name}.{oneof.name}", (*place, DescriptorProto.ONEOF_DECL_FIELD_NUMBER, i)
    for i, nested in enumerate(message.nested_type):
        yield from _of_message(nested, (*place, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, i), name)
    for i, enum in enumerate(message.enum_type):
        yield from _of_enum(enum, (*place, DescriptorProto.ENUM_TYPE_FIELD_NUMBER, i), name)


def _of_enum(enum: EnumDescriptorProto, place: Place, scope: str) -> Iterator[Element]:
    yield f"{scope}.{enum.name}", place
    for i, value in enumerate(enum.value):
        yield f"{scope}.{value.name}", (*place, EnumDescriptorProto.VALUE_FIELD_NUMBER, i)


def _of_service(service: ServiceDescriptorProto, place: Place, scope: str) -> Iterator[Element]:
    yield f"{scope}.{service.name}", place
    for i, method in enumerate(service.method):
        yield f"{scope}.{service.name}.{method.name}", (*place, ServiceDescriptorProto.METHOD_FIELD_NUMBER, i)


def _uncommented(file: FileDescriptorProto) -> list[str]:
    commented = {
        tuple(location.path)
        for location in file.source_code_info.location
        if location.leading_comments.strip()
    }
    return [name for name, place in _of_file(file) if place not in commented]


def test_every_element_of_every_contract_has_a_comment(descriptors: FileDescriptorSet) -> None:
    ours = [file for file in descriptors.file if file.name.startswith(OURS)]
    assert len(ours) == 21
    assert [name for file in ours for name in _uncommented(file)] == []


def test_the_walk_finds_each_kind_of_element_that_lacks_a_comment(tmp_path: Path) -> None:
    (tmp_path / "bare.proto").write_text(
        """
        syntax = "proto3";
        package bare;
        import "google/protobuf/descriptor.proto";
        // Commented.
        message Message {
          message Nested { map<string, string> field = 1; }
          enum Inner { INNER_UNSPECIFIED = 0; }
          oneof choice { string text = 1; }
        }
        enum Enum { ENUM_UNSPECIFIED = 0; }
        service Service { rpc Call(Message) returns (Message); }
        extend google.protobuf.FieldOptions { bool extension = 50999; }
        """
    )
    out = tmp_path / "bare.binpb"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}", f"--descriptor_set_out={out}"]
    subprocess.run([*protoc, "--include_source_info", "bare.proto"], check=True)

    (file,) = FileDescriptorSet.FromString(out.read_bytes()).file
    assert set(_uncommented(file)) == {
        "bare.Message.text",
        "bare.Message.choice",
        "bare.Message.Nested",
        "bare.Message.Nested.field",
        "bare.Message.Inner",
        "bare.Message.INNER_UNSPECIFIED",
        "bare.Enum",
        "bare.ENUM_UNSPECIFIED",
        "bare.Service",
        "bare.Service.Call",
        "bare.extension",
    }
