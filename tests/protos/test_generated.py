"""What is committed is what the contracts generate, and the shipped descriptor set can be used by itself."""

from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

DESCRIPTOR_SET = Path("keybridge", "keybridge.binpb")


def _made_from_contracts(tree: Path) -> dict[str, bytes]:
    """Every file under ``tree`` that generation makes, by its path: code, stubs and descriptor set."""
    paths = [*tree.glob("*/v1/*_pb2*.py*"), tree / DESCRIPTOR_SET]
    return {str(path.relative_to(tree)): path.read_bytes() for path in paths}


def test_the_committed_code_and_descriptor_set_are_byte_for_byte_what_the_contracts_generate(
    root: Path, generated: Path
) -> None:
    committed, fresh = _made_from_contracts(root), _made_from_contracts(generated)
    differing = {path for path in committed.keys() | fresh.keys() if committed.get(path) != fresh.get(path)}
    assert not differing, f"run `make generate`, and delete what it no longer makes: {sorted(differing)}"


def test_every_contract_has_code_with_stubs_and_only_services_have_grpc_code(
    root: Path, generated: Path
) -> None:
    contracts = {
        str(path.relative_to(root / "protos").with_suffix("")) for path in root.glob("protos/*/v1/*.proto")
    }
    services = {"keyservice/v1/key_service", "bridgeservice/v1/trading_bridge"}
    expected = {f"{name}_pb2{suffix}" for name in contracts for suffix in (".py", ".pyi")}
    expected |= {f"{name}_pb2_grpc{suffix}" for name in services for suffix in (".py", ".pyi")}
    assert _made_from_contracts(generated).keys() == expected | {str(DESCRIPTOR_SET)}


def test_the_shipped_descriptor_set_holds_both_services_and_all_that_they_import(root: Path) -> None:
    shipped = FileDescriptorSet.FromString((root / DESCRIPTOR_SET).read_bytes())
    pool = DescriptorPool()
    for file in shipped.file:
        pool.AddSerializedFile(file.SerializeToString())  # refused while an import is missing
    for service in ("keyservice.v1.KeyService", "bridgeservice.v1.TradingBridge"):
        assert pool.FindServiceByName(service).methods


def test_no_path_of_the_machine_that_generated_it_is_in_what_is_shipped(root: Path, generated: Path) -> None:
    shipped = _made_from_contracts(root)
    for place in (root, generated):
        holding = [path for path, content in shipped.items() if str(place).encode() in content]
        assert not holding
