"""Writes what a release consists of, as CycloneDX: the wheel, and all that its services are installed with.

``python -m deploy.sbom WHEEL FILE``. Versions and hashes are those of the lock file, licences and who needs whom those
of the installed packages. It is made of the same bytes as often as it is made of the same commit.
"""

import hashlib
import os
import re
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parents[1] / "requirements.lock"
EXTRAS = frozenset({"server", "embedded"})

_OURS = "keybridge"
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)(.*?)(?=^[A-Za-z0-9]|\Z)", re.M | re.S)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def main(wheel: Path, target: Path) -> None:
    target.write_text(JsonV1Dot6(bill(wheel)).output_as_string(indent=2) + "\n", encoding="utf-8")


def bill(wheel: Path) -> Bom:
    """The wheel, and everything that it needs, directly or not."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    root = _component(_OURS, distribution(_OURS).version, [digest], ComponentType.APPLICATION)
    made = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest))
    bom.metadata.timestamp = made
    bom.metadata.component = root
    needed = _needed()
    components = {_OURS: root}
    for name, version, hashes in _locked():
        if name in needed:
            components[name] = _component(name, version, hashes, ComponentType.LIBRARY)
            bom.components.add(components[name])
    for name, others in needed.items():
        bom.register_dependency(components[name], [components[each] for each in sorted(others)])
    return bom


def _needed() -> dict[str, set[str]]:
    """By name, whom each package of a full installation needs."""
    found: dict[str, set[str]] = {}
    waiting = [(_OURS, EXTRAS)]
    asked: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in asked:
            continue
        asked.add((name, extras))
        others = found.setdefault(name, set())
        for requirement in _requirements(distribution(name), extras):
            other = str(canonicalize_name(requirement.name))
            others.add(other)
            waiting.append((other, frozenset(requirement.extras)))
    return found


def _requirements(installed: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    """What it needs here, with these extras."""
    for line in installed.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (extras or {""})):
            yield requirement


def _locked() -> Iterator[tuple[str, str, list[str]]]:
    for name, version, rest in _ENTRY.findall(LOCK.read_text(encoding="utf-8")):
        yield str(canonicalize_name(name)), version, _HASH.findall(rest)


def _component(name: str, version: str, hashes: list[str], kind: ComponentType) -> Component:
    metadata = distribution(name).metadata
    named = [metadata[each] for each in ("License-Expression", "License") if each in metadata]
    licence = named[0] if named else ""
    made = LicenseFactory()
    return Component(
        name=name,
        version=version,
        type=kind,
        bom_ref=f"{name}@{version}",
        purl=PackageURL("pypi", name=name, version=version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in hashes],
        # Some packages put the whole text of it where its name belongs.
        licenses=[made.make_from_string(licence)] if licence and "\n" not in licence else [],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
