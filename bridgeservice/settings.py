"""What TradingBridge can be told: the variables that begin with BRIDGESERVICE_."""

from datetime import timedelta
from decimal import Decimal
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from bridgeservice.amounts import GIVEN
from bridgeservice.exchanges.options import Options
from bridgeservice.exchanges.paper_options import PAPER, STARTING_BALANCES, PaperOptions
from bridgeservice.validation import LONGEST_ASSET
from servicekit.catalogue import Catalogue
from servicekit.config import Address, Duration, PositiveDuration, ServiceSettings, StringList, StringMap
from servicekit.errors import SettingsError

_A_MINUTE = timedelta(minutes=1)
_AN_HOUR = timedelta(hours=1)
_A_DAY = timedelta(days=1)
_A_YEAR = timedelta(days=365)
_MOST_CALLS = 2**31 - 1
_HTTP = ("http://", "https://")


class BridgeServiceSettings(ServiceSettings):
    """The settings of TradingBridge."""

    model_config = SettingsConfigDict(env_prefix="BRIDGESERVICE_")

    listen: Address = Address("127.0.0.1", 50052)
    """The address that TradingBridge answers on; port 0 lets the system choose one."""

    max_concurrent_rpcs: int = Field(10_000, ge=1, le=_MOST_CALLS)
    """How many calls may be under way at once; one more answers RESOURCE_EXHAUSTED. More than one exchange's
    calls can use up, so that one that hangs leaves room for the others."""

    principal_calls: int = Field(1000, ge=0, le=_MOST_CALLS)
    """How many unary calls of one principal may be under way at once. 0 is no limit. More than elsewhere, since most of
    them wait for an exchange."""

    exchange_calls_at_once: int = Field(2_000, ge=1, le=_MOST_CALLS)
    """How many calls may wait for one exchange at once; one more answers RESOURCE_EXHAUSTED."""

    exchange_timeout: PositiveDuration = Field(timedelta(seconds=30), le=_AN_HOUR)
    """How long one question to an exchange may take in all, whatever the caller's deadline."""

    request_timeout: PositiveDuration = Field(timedelta(seconds=10), le=_AN_HOUR)
    """How long one HTTP request to an exchange may take, whatever the callers' deadlines."""

    exchange_urls: StringMap = Field(default_factory=dict)
    """Base URLs that stand for an exchange's own, as a JSON object: a test net, a proxy, the simulator. The one for
    an exchange's sandbox has `:sandbox` behind the exchange's name."""

    proxy_url: SecretStr | None = None
    """The HTTP proxy through which every exchange is called, for an egress address that does not change."""

    egress_address: str = Field("", max_length=200)
    """The address from which exchanges are called: what clients must put on an exchange's allow-list."""

    rate_share: float = Field(1.0, gt=0, le=10)
    """The part of an exchange's rate limit that this bridge uses, where several share an egress address; above 1
    where an exchange has raised it."""

    connector_ttl: PositiveDuration = Field(_A_DAY, le=_A_YEAR)
    """How long a connector is held that KeyService does not confirm; then it is forgotten."""

    tombstone_ttl: PositiveDuration = Field(2 * _A_DAY, le=_A_YEAR)
    """How long the revision of a removed connector is remembered, so that a late push cannot bring it back."""

    session_idle: PositiveDuration = Field(10 * _A_MINUTE, le=_A_DAY)
    """How long a connector stays ready for use once nobody uses it; then it goes back to rest."""

    snapshot_interval: PositiveDuration = Field(timedelta(minutes=15), ge=_A_MINUTE, le=_A_DAY)
    """How often what each connector holds is remembered, for GetPortfolioHistory; needs a database."""

    snapshot_quote_asset: str = Field("USDT", min_length=1, max_length=LONGEST_ASSET)
    """The asset in which snapshots are valued."""

    snapshot_retention: PositiveDuration = Field(2 * _A_YEAR, le=20 * _A_YEAR)
    """How long snapshots are kept."""

    order_retention: PositiveDuration | None = Field(None, le=20 * _A_YEAR)
    """For how long ended orders, and trades, are shown; without end when it is not set. What is hidden is not deleted,
    and comes back when this is made longer."""

    reconcile_interval: PositiveDuration = Field(timedelta(seconds=30), ge=timedelta(seconds=1), le=_AN_HOUR)
    """How often a connector with open orders is compared with its exchange; one without, but that is traded with, a
    twentieth as often."""

    history: PositiveDuration = Field(timedelta(days=30), le=20 * _A_YEAR)
    """How far back trades are read from the exchange when a connector is first used."""

    dead_man_switch: PositiveDuration | None = Field(None, ge=timedelta(seconds=10), le=_AN_HOUR)
    """After which time without a sign of this bridge an exchange that offers it is to cancel a connector's open orders;
    never when it is not set. It has to be long where many connectors trade at one exchange: the log warns."""

    order_params: StringList = ()
    """What callers may say of an order beyond the contract, by ccxt's names; anything else is refused."""

    order_settling_time: PositiveDuration = Field(2 * _A_MINUTE, le=_A_DAY)
    """For how long an order of which it is not known whether it was placed is asked for, before an exchange that
    does not know it is believed."""

    page_token_key: SecretStr | None = None
    """What page tokens are authenticated with. When it is not set, a random key: then a token is good for this
    run of this bridge only."""

    paper_seed: int = 1
    """From what the prices of the exchange `paper` are made; the same seed gives the same prices."""

    paper_latency: Duration = Field(timedelta(0), le=_A_MINUTE)
    """How long `paper` takes to answer, for demonstrations."""

    paper_failure_rate: float = Field(0.0, ge=0, le=1)
    """Which part of the calls to `paper` fails, for demonstrations."""

    paper_balances: StringMap = Field(
        default_factory=lambda: {asset: str(amount) for asset, amount in STARTING_BALANCES.items()}
    )
    """What a new account on `paper` begins with, as a JSON object: asset to amount."""

    paper_prices_from: str = Field("", max_length=64)
    """The exchange whose prices `paper` has, where it shall have real ones."""

    def exchange_options(self, catalogue: Catalogue) -> Options:
        """What of the settings concerns exchanges that ccxt serves, which are those of the shipped catalogue."""
        return Options(
            urls=self._urls_by_id(catalogue),
            proxy_url=self.proxy_url.get_secret_value() if self.proxy_url else "",
            egress_address=self.egress_address,
            request_timeout=self.request_timeout,
            rate_share=self.rate_share,
        )

    def paper_options(self, catalogue: Catalogue) -> PaperOptions:
        """What of the settings concerns the exchange `paper`. The catalogue is of all that are served."""
        source = self.paper_prices_from
        return PaperOptions(
            seed=self.paper_seed,
            latency=self.paper_latency,
            failure_rate=self.paper_failure_rate,
            balances={asset: Decimal(amount) for asset, amount in self.paper_balances.items()},
            prices_from=self._served("paper_prices_from", source, catalogue) if source else "",
        )

    def _urls_by_id(self, catalogue: Catalogue) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, url in self.exchange_urls.items():
            exchange, colon, environment = name.partition(":")
            place = self._served("exchange_urls", exchange, catalogue) + colon + environment.lower()
            if place == PAPER or place in found or environment.lower() not in ("", "sandbox"):
                raise SettingsError(
                    f"{self.variable('exchange_urls')} should have one URL for each exchange, and one for its "
                    f"sandbox under the exchange's name with :sandbox behind it; {name} is neither"
                )
            found[place] = url
        return found

    def _served(self, field: str, name: str, catalogue: Catalogue) -> str:
        # A name that nobody knows would be passed over, and the calls would go to the live exchange.
        if (exchange := catalogue.find(name)) is not None:
            return exchange.id
        nearest = catalogue.nearest(name)
        hint = f"; names that look like it: {', '.join(nearest)}" if nearest else ""
        raise SettingsError(f"{self.variable(field)} names {name}, which is no exchange that is served{hint}")

    @field_validator("paper_balances")
    @classmethod
    def _check_balances(cls, balances: dict[str, str]) -> dict[str, str]:
        for asset, amount in balances.items():
            if not (asset and GIVEN.fullmatch(amount)):
                raise ValueError(f"should have a decimal number, such as 0.5, for {asset or 'each asset'}")
        return balances

    @field_validator("paper_prices_from")
    @classmethod
    def _check_source(cls, name: str) -> str:
        if name.lower() == PAPER:
            raise ValueError("should name another exchange than paper, or none")
        return name

    @field_validator("proxy_url")
    @classmethod
    def _check_proxy(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(_HTTP):
            raise ValueError("should be the URL of an HTTP proxy, which begins with http:// or https://")
        return url

    @field_validator("exchange_urls")
    @classmethod
    def _check_urls(cls, urls: dict[str, str]) -> dict[str, str]:
        for name, url in urls.items():
            if not url.startswith(_HTTP):
                raise ValueError(f"should have a URL that begins with http:// or https:// for {name}")
        return urls

    @model_validator(mode="after")
    def _check_tombstones(self) -> Self:
        if self.tombstone_ttl < self.connector_ttl:
            raise ValueError(
                f"{self.variable('tombstone_ttl')} should not be shorter than {self.variable('connector_ttl')}"
            )
        return self
