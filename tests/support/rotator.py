"""A rotation in a process of its own, to be killed: its order comes on stdin, its progress goes to stdout."""

import asyncio
import json
import sys
from dataclasses import asdict

from pydantic import SecretStr

from keyservice.keyring import open_keyring
from keyservice.resealing import Progress, rotate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url


def say(progress: Progress) -> None:
    sys.stdout.write(json.dumps(asdict(progress)) + "\n")
    sys.stdout.flush()


async def main() -> None:
    order = json.loads(sys.stdin.read())
    database = Database(DatabaseOptions(url=parse_url(order["url"]), pool_size=2))
    keyring = await open_keyring(database, [SecretStr(key) for key in order["keys"]])
    await rotate(database, keyring, batch=order["batch"], progress=say)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main())
