"""Homes for private servers, users of them, and the proof that nothing is left running."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from servicekit.embedded_postgres import EmbeddedPostgres, binaries, postmaster

HOLDER = Path(__file__).with_name("holder.py")
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def home(place: Path) -> Path:
    return place / "my home"


@pytest.fixture
def pid(home: Path) -> Callable[[], int | None]:
    """Asks for the process id of the home's live server."""

    def find() -> int | None:
        (data,) = (home / "postgres").glob("data*")
        return postmaster.running_pid(data)

    return find


@pytest.fixture
def ask() -> Callable[[str, str], Awaitable[Any]]:
    """Runs a statement at a URL and returns its first value, whatever type that has."""

    async def run(url: str, statement: str) -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return run


@pytest.fixture
def server(home: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Makes users of the home's server, and ends their use."""
    made: list[EmbeddedPostgres] = []

    def make(where: Path = home, **settings: str) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(where, settings={"fsync": "off", **settings}))
        return made[-1]

    yield make
    for user in made:
        user.stop()


@pytest.fixture
def holder(home: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts other processes that use the home's server until their input ends."""
    made: list[subprocess.Popen[str]] = []

    def start(
        where: Path = home, *arguments: str, python: str = sys.executable, **options: Any
    ) -> "subprocess.Popen[str]":
        made.append(
            subprocess.Popen(
                [python, str(HOLDER), str(where), *arguments],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                **options,
            )
        )
        return made[-1]

    yield start
    for process in made:
        process.communicate(timeout=30)


@pytest.fixture
def fake_programs(place: Path) -> Callable[[str], Path]:
    """A directory of the real ``postgres`` with an ``initdb`` that runs the given shell script."""

    def make(initdb: str) -> Path:
        real = binaries.find(binaries.candidates(), None, ())
        directory = place / "programs"
        directory.mkdir()
        directory.chmod(0o755)
        (directory / "postgres").symlink_to(real.postgres)
        (directory / "initdb").write_text(f"#!/bin/sh\n{initdb}\n")
        (directory / "initdb").chmod(0o755)
        return directory

    return make
