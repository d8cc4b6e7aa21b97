"""What KeyService can be told: the variables that begin with KEYSERVICE_."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from servicekit.config import Address, Duration, Named, PositiveDuration, SecretList, ServiceSettings
from servicekit.errors import SettingsError

_A_CENTURY = timedelta(days=36500)
_A_DAY = timedelta(hours=24)
_LOCAL_BRIDGE = "127.0.0.1:50052"


class KeyServiceSettings(ServiceSettings):
    """The settings of KeyService."""

    model_config = SettingsConfigDict(env_prefix="KEYSERVICE_")

    listen: Address = Address("127.0.0.1", 50051)
    """The address that KeyService answers on; port 0 lets the system choose one."""

    encryption_keys: SecretList = ()
    """The master keys that seal credentials, separated by commas: the first seals, all of them open."""

    encryption_key: Annotated[SecretStr | None, Named("ENCRYPTION_KEY")] = None
    """A single master key, where KEYSERVICE_ENCRYPTION_KEYS is not set."""

    erase_after: Duration = Field(timedelta(days=30), le=_A_CENTURY)
    """How long a deleted key can be brought back; then its credentials are erased. 0 erases them at once."""

    bridge_target: str | None = None
    """Where TradingBridge is: host:port, or any target of gRPC's; 127.0.0.1:50052 by default, in development only."""

    bridge_tls_ca_file: Path | None = None
    """The authorities (PEM) that may have signed the bridge's certificate; required where the bridge is elsewhere."""

    bridge_tls_cert_file: Path | None = None
    """The certificate chain (PEM) that KeyService shows the bridge, where the bridge asks for one."""

    bridge_tls_key_file: Path | None = None
    """The private key of that certificate (PEM)."""

    bridge_token_file: Path | None = None
    """The file with the token that KeyService shows the bridge, of the role bridge-writer and all clients. Whoever
    renews it does so in this file."""

    bridge_tls_server_name: str | None = None
    """The name in the bridge's certificate, where it is not the one in the target."""

    inline_bridge_wait: PositiveDuration = Field(timedelta(seconds=3), le=_A_DAY)
    """How long a caller is made to wait for the bridge; what it has not done by then is done in the background."""

    bridge_timeout: PositiveDuration = Field(timedelta(seconds=30), le=_A_DAY)
    """How long the bridge may take for a call that nobody waits for."""

    bridge_calls_at_once: int = Field(32, ge=1, le=10_000)
    """How many keys are taken to the bridge at once in the background; calls of users go beside them."""

    principal_reinitializations: int = Field(2, ge=0, le=10_000)
    """How many calls of ReinitializeApiKeys one principal may have under way at once, per process. 0 is no limit."""

    bridge_check_interval: PositiveDuration = Field(timedelta(hours=1), le=_A_DAY)
    """In which time each account on the bridge is once held against what it should hold. Much less than the time
    after which the bridge forgets a connector that nobody confirms."""

    audit_seal_interval: PositiveDuration = Field(timedelta(seconds=1), le=_A_DAY)
    """How often what has come into the audit record is sealed; until then it could be changed unseen."""

    listen_database_url: SecretStr | None = None
    """A direct connection to the database, where a pooler stands before the other one: LISTEN needs it."""

    @property
    def bridge_address(self) -> str:
        """Where the bridge is, the default worked out."""
        if self.bridge_target is None and self.environment == "production":
            name = self.variable("bridge_target")
            raise SettingsError(f"{name} is not set; in production the bridge's address has no default")
        return self.bridge_target or _LOCAL_BRIDGE

    @model_validator(mode="after")
    def _check_bridge_tls(self) -> Self:
        ca = self.variable("bridge_tls_ca_file")
        certificate, key = self.variable("bridge_tls_cert_file"), self.variable("bridge_tls_key_file")
        if (self.bridge_tls_cert_file is None) != (self.bridge_tls_key_file is None):
            given, absent = (certificate, key) if self.bridge_tls_cert_file else (key, certificate)
            raise ValueError(f"{given} is set without {absent}")
        if self.bridge_tls_ca_file is None and not _is_here(self.bridge_target or _LOCAL_BRIDGE):
            target = self.variable("bridge_target")
            raise ValueError(
                f"{ca} is required, because {target} is not a loopback address and credentials go there"
            )
        if self.bridge_tls_ca_file is None and self.bridge_tls_cert_file is not None:
            raise ValueError(f"{certificate} is set without {ca}")
        return self

    @property
    def master_keys(self) -> tuple[SecretStr, ...]:
        """The master keys, whichever setting they came from."""
        return self.encryption_keys or ((self.encryption_key,) if self.encryption_key else ())


def _is_here(target: str) -> bool:
    """Whether what is sent to a target of gRPC's stays on this machine."""
    if target.startswith("unix:"):
        return True
    try:
        return Address.parse(target.removeprefix("dns:///")).is_loopback
    except ValueError:
        return False
