"""What KeyService can be told: the variables that begin with KEYSERVICE_."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from servicekit.config import Address, Duration, Named, SecretList, ServiceSettings

_A_CENTURY = timedelta(days=36500)


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

    @property
    def master_keys(self) -> tuple[SecretStr, ...]:
        """The master keys, whichever setting they came from."""
        return self.encryption_keys or ((self.encryption_key,) if self.encryption_key else ())
