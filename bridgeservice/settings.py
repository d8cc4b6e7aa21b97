"""What TradingBridge can be told: the variables that begin with BRIDGESERVICE_."""

from pydantic_settings import SettingsConfigDict

from servicekit.config import Address, ServiceSettings


class BridgeServiceSettings(ServiceSettings):
    """The settings of TradingBridge."""

    model_config = SettingsConfigDict(env_prefix="BRIDGESERVICE_")

    listen: Address = Address("127.0.0.1", 50052)
    """The address that TradingBridge answers on; port 0 lets the system choose one."""
