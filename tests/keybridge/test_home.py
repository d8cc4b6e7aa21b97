"""Where the all-in-one keeps its things."""

from pathlib import Path

import pytest

from keybridge.home import default_home


@pytest.mark.parametrize(
    ("environ", "is_root", "platform", "home"),
    [
        ({}, True, "linux", Path("/var/lib/keybridge")),
        ({}, True, "darwin", Path("/var/lib/keybridge")),
        ({}, False, "linux", Path.home() / ".local/share/keybridge"),
        ({"XDG_DATA_HOME": "/data"}, False, "linux", Path("/data/keybridge")),
        ({}, False, "darwin", Path.home() / "Library/Application Support/keybridge"),
    ],
)
def test_the_default_is_the_platforms_data_folder_and_a_public_one_for_root(
    environ: dict[str, str], is_root: bool, platform: str, home: Path
) -> None:
    assert default_home(environ, is_root=is_root, platform=platform) == home
