"""Lines for grpcurl, as documents and commands show them: pasted into the tool where it is installed, else read as the
tool would read them.
"""

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

ROOT = Path(__file__).parents[2]
SECONDS = 30.0
TIME_IS_UP: Final = 64 + grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
"""How the tool ends where a line says how long it is to go on."""


def tool() -> str | None:
    """grpcurl, on PATH or where Go puts what it installs."""
    if (found := shutil.which("grpcurl")) is not None:
        return found
    if (go := shutil.which("go")) is None:
        return None
    told = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=False)
    return shutil.which("grpcurl", path=str(Path(told.stdout.strip(), "bin")))


def paste(line: str) -> str:
    """What a line says, which has to succeed, when it is run in the folder of the sources."""
    arguments = _as_a_shell_passes_them(line.removeprefix("grpcurl "))
    if (found := tool()) is None:
        return _read_as_the_tool_would(arguments)
    done = subprocess.run(
        [found, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    ends = (0, TIME_IS_UP) if "-max-time" in arguments else (0,)
    assert done.returncode in ends, f"{line}\n{done.stderr}"
    return done.stdout


def _as_a_shell_passes_them(arguments: str) -> list[str]:
    done = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {arguments}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


def _read_as_the_tool_would(arguments: list[str]) -> str:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-protoset")
    parser.add_argument("-max-time", type=float)
    parser.add_argument("-d", default="{}")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("address")
    parser.add_argument("what")
    parser.add_argument("symbol", nargs="?")
    given = parser.parse_args(arguments)
    with grpc.insecure_channel(given.address) as channel:
        reflection = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(reflection) if given.protoset is None else _shipped(ROOT / given.protoset)
        if given.what == "list":
            return "\n".join(reflection.get_services())
        if given.what == "describe":
            return str(pool.FindFileContainingSymbol(given.symbol).name)
        return _call(channel, pool, given)


def _shipped(file: Path) -> DescriptorPool:
    pool = DescriptorPool()
    for each in FileDescriptorSet.FromString(file.read_bytes()).file:
        pool.Add(each)
    return pool


def _call(channel: grpc.Channel, pool: DescriptorPool, given: argparse.Namespace) -> str:
    service, _, name = given.what.partition("/")
    method = pool.FindServiceByName(service).methods_by_name[name]
    message = json_format.Parse(given.d, GetMessageClass(method.input_type)(), descriptor_pool=pool)
    metadata = [(name.strip(), value.strip()) for name, _, value in (each.partition(":") for each in given.H)]
    # A method with one answer is a stream of one.
    make: Any = channel.unary_stream(
        f"/{given.what}",
        request_serializer=lambda each: each.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    said: list[str] = []
    try:
        for each in make(message, timeout=given.max_time or SECONDS, metadata=metadata):
            said.append(json_format.MessageToJson(each, descriptor_pool=pool))  # noqa: PERF401 - kept when it ends
    except grpc.RpcError as error:
        if given.max_time is None or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
    return "\n".join(said)
