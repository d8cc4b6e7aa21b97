"""What holds a secret in the process prints without it, by itself, in a container, in an error and in a log."""

import base64
import io
import secrets
import traceback
from collections.abc import Callable
from uuid import uuid4

import pytest
from pydantic import SecretStr

from keyservice.credentials import columns, hint
from keyservice.custody import ApiKeyOrder
from keyservice.enums import Environment
from keyservice.keyring import Keyring, KeyUnreadable, open_keyring
from keyservice.records import Caller
from keyservice.repetition import Repetition, claim
from keyservice.sealing import Context, MalformedKey, MasterKey, NotOpened
from keyservice.settings import KeyServiceSettings
from keyservice.store.additions import NewKey
from keyservice.store.api_keys import Secrets
from servicekit import config, logs
from servicekit.credentials import Credentials
from servicekit.database.engine import Database
from servicekit.database.named import database_url
from servicekit.database.options import DatabaseOptions, connect_arguments
from servicekit.database.url import DatabaseUrl, parse_url
from servicekit.errors import KeybridgeError, StartupError
from tests.evidence.planted import Planted

CLIENT, ROW = uuid4(), uuid4()


@pytest.fixture
def planted() -> Planted:
    return Planted()


def plant_key(planted: Planted) -> str:
    key = MasterKey.generate()
    planted.add("the bytes of a master key", base64.urlsafe_b64decode(key))
    return planted.add("a master key", key)


def make_objects(planted: Planted) -> dict[str, object]:
    """One of each kind that ever holds a secret."""
    master = plant_key(planted)
    index_key = secrets.token_bytes(32)
    planted.add("the index key", index_key)
    keyring = Keyring([MasterKey(master)], index_key)
    password = planted.new("password")
    credentials = Credentials(
        api_key=planted.new("api_key"),
        api_secret=planted.new("api_secret"),
        passphrase=planted.new("passphrase"),
        extra={"uid": planted.new("uid")},
    )
    key_id, sealed = keyring.seal(columns(credentials), client_id=CLIENT, row_id=ROW, secret_version=1)
    stored = Secrets(sealed, key_id, 1, hint(credentials), keyring.fingerprint("kraken", b"identity"))
    repetition = Repetition("AddApiKey", uuid4(), planted.new("a request's body").encode())
    settings = config.load(
        KeyServiceSettings,
        {
            "DATABASE_URL": f"postgresql://custodian:{password}@localhost/custody",
            "KEYSERVICE_ENCRYPTION_KEYS": master,
            "ENCRYPTION_KEY": plant_key(planted),
            "DB_PASSWORD": planted.new("DB_PASSWORD"),
        },
    )
    url = database_url(settings)
    options = DatabaseOptions(url=url)
    return {
        "master key": keyring.current,
        "keyring": keyring,
        "credentials": credentials,
        "secrets": stored,
        "new key": NewKey(ROW, CLIENT, "kraken", "", Environment.LIVE, stored),
        "order": ApiKeyOrder(CLIENT, "kraken", "", Environment.LIVE, credentials),
        "repetition": repetition,
        "claim": claim(keyring, Caller("anonymous"), repetition),
        "settings": settings,
        "url": url,
        "options": options,
        "arguments": connect_arguments(options),
        "engine": Database(options)._engine,
        "pool": Database(options).pool,
    }


def make_errors(planted: Planted) -> dict[str, Callable[[], object]]:
    """What refuses something secret, and thereby might repeat it."""
    key, other = MasterKey(plant_key(planted)), MasterKey(plant_key(planted))
    place = Context(CLIENT, ROW, "api_key", 1)
    token = key.seal(planted.new("a sealed value").encode(), place)
    ring = Keyring([other], secrets.token_bytes(32))
    sealed, where = {"api_key": token}, {"client_id": CLIENT, "row_id": ROW, "secret_version": 1}
    malformed, broken = planted.new("a malformed key"), planted.new("a broken URL")
    return {
        "not opened": lambda: other.open(token, place),
        "unreadable": lambda: ring.open(sealed, key_id=other.key_id, **where),  # type: ignore[arg-type]
        "unknown key": lambda: ring.open(sealed, key_id=key.key_id, **where),  # type: ignore[arg-type]
        "malformed": lambda: MasterKey(malformed),
        "settings": lambda: config.load(
            KeyServiceSettings, {"KEYSERVICE_DATABASE_URL": broken, "KEYSERVICE_LISTEN": "nowhere"}
        ),
        "URL": lambda: parse_url(f"postgresql://user:{broken}@host:port/name"),
        "validation": lambda: KeyServiceSettings.model_validate(
            {"encryption_keys": broken, "log_level": "no level", "listen": 7}
        ),
    }


def printed(value: object) -> bytes:
    forms = (repr(value), str(value), f"{value}", repr([value]), repr({"value": value}), repr((value,)))
    return "\n".join(forms).encode()


def logged(value: object, log_format: logs.Format) -> bytes:
    stream = io.StringIO()
    logs.configure("debug", log_format, stream)
    log = logs.get("evidence")
    log.debug("an object", thing=value, things=[value], named={"it": value})
    log.warning("an object %s %r", value, value)
    return stream.getvalue().encode()


def test_no_object_prints_a_secret(planted: Planted, logging_restored: None) -> None:
    objects = make_objects(planted)
    for name, each in objects.items():
        assert planted.found_in(printed(each)) == [], name
        for log_format in ("json", "console"):
            assert planted.found_in(logged(each, log_format)) == [], (name, log_format)
    controls = Planted()
    keyring = objects["keyring"]
    assert isinstance(keyring, Keyring)
    controls.add("key id", keyring.current.key_id)
    for name in ("master key", "keyring", "secrets", "new key"):
        assert controls.found_in(printed(objects[name])), name


def test_no_error_prints_a_secret(planted: Planted, logging_restored: None) -> None:
    for name, refuse in make_errors(planted).items():
        with pytest.raises(
            (NotOpened, KeyUnreadable, MalformedKey, KeybridgeError, StartupError, ValueError)
        ) as got:
            refuse()
        whole = "".join(traceback.format_exception(got.value))
        assert planted.found_in(whole.encode(), printed(got.value)) == [], name
        chain = [got.value, got.value.__cause__, got.value.__context__]
        assert planted.found_in(*(printed(link) for link in chain)) == [], name
        for log_format in ("json", "console"):
            assert planted.found_in(logged(got.value, log_format)) == [], (name, log_format)


async def test_a_start_with_the_wrong_keys_raises_what_holds_no_secret(
    planted: Planted, database_url: DatabaseUrl
) -> None:
    database = Database(DatabaseOptions(url=database_url, pool_size=1))
    await open_keyring(database, [SecretStr(plant_key(planted))])
    for keys in ([], [plant_key(planted)], [planted.new("no key")]):
        with pytest.raises(StartupError) as refused:
            await open_keyring(database, [SecretStr(key) for key in keys])
        whole = "".join(traceback.format_exception(refused.value)).encode()
        assert planted.found_in(whole, printed(refused.value)) == []
    await database.close()
