"""What every test of the contracts looks at: them as they are now, generated anew into a directory apart."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with everything that the contracts generate, made by the very target that a developer runs."""
    out = tmp_path_factory.mktemp("generated")
    subprocess.run(
        [
            "make",
            "-f",
            "protos/generate.mk",
            "generate",
            f"TOOLS={Path(sys.executable).parent}",
            f"OUT={out}",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="session")
def descriptors(generated: Path) -> FileDescriptorSet:
    """The descriptor set of the contracts, with their imports and comments."""
    return FileDescriptorSet.FromString((generated / "keybridge" / "keybridge.binpb").read_bytes())
