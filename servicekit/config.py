"""The settings that both services share, and the one way to load them.

A service derives its own class from ``ServiceSettings``, gives it an ``env_prefix`` and adds fields, each
with a docstring: ``describe`` turns those into help and documentation. ``load`` either returns a complete,
checked object or raises one ``SettingsError`` whose sentence names every variable that is wrong.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Self, TypeVar

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from servicekit import variables
from servicekit.errors import SettingsError
from servicekit.limits import LimitSettings
from servicekit.values import (
    Address,
    Duration,
    PositiveDuration,
    SecretList,
    StringList,
    StringMap,
    format_duration,
)
from servicekit.variables import Named

__all__ = [
    "Address",
    "Described",
    "Duration",
    "Named",
    "PositiveDuration",
    "SecretList",
    "ServiceSettings",
    "StringList",
    "StringMap",
    "describe",
    "load",
]

S = TypeVar("S", bound="ServiceSettings")
Role = Literal["reader", "trader", "operator", "admin", "bridge-writer"]

# A number too many would otherwise be refused by PostgreSQL, or mean never.
_MOST_CONNECTIONS = 262_143
_A_DAY = timedelta(hours=24)
_A_WEEK = timedelta(days=7)


class ServiceSettings(LimitSettings):
    """What a service of ours can be told, whichever it is."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    also_known: ClassVar[frozenset[str]] = frozenset({"KEYBRIDGE_LIFELINE_FD", "KEYBRIDGE_READY_FD"})
    """Variables that are ours and are read elsewhere; the ones here are those of ``servicekit.process``."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    listen: Address
    """The address that the service answers on; port 0 lets the system choose one."""

    metrics_listen: Address | None = None
    """Where Prometheus reads the metrics, over plain HTTP; when it is not set, nowhere."""

    environment: Annotated[Literal["development", "production"], Named("KEYBRIDGE_ENV")] = "development"
    """Production refuses local defaults, generated keys and an unencrypted remote database."""

    home: Annotated[Path | None, Named("KEYBRIDGE_HOME")] = None
    """The folder with the data of the all-in-one: database, keys, certificates."""

    shutdown_grace: Duration = Field(timedelta(seconds=30), le=_A_DAY)
    """How long calls that are under way may take to finish once the service was told to stop."""

    drain_delay: Duration = Field(timedelta(0), le=_A_DAY)
    """How long the service says NOT_SERVING before it stops taking calls, so that balancers look away."""

    tls_cert_file: Path | None = None
    """The server's certificate chain (PEM); required, with its key, where the address is not loopback."""

    tls_key_file: Path | None = None
    """The private key of the certificate (PEM)."""

    tls_client_ca_file: Path | None = None
    """The authorities (PEM) whose client certificates are asked for and checked."""

    principals_file: Path | None = None
    """Whom client certificates stand for: a JSON object, from names in a certificate to roles and clients."""

    jwks_file: Path | None = None
    """The public keys that tokens may be signed with (JWKS): EdDSA, ES256 or RS256."""

    token_issuer: str = Field("keybridge", min_length=1)
    """The issuer (iss) of the tokens that are taken."""

    token_audience: str | None = Field(None, min_length=1)
    """The audience (aud) that a token must name; when not set, the service's own: keyservice or bridgeservice."""

    token_leeway: Duration = Field(timedelta(seconds=10), le=timedelta(minutes=5))
    """How much the clock of who issues tokens may differ from this one."""

    deny_list_file: Path | None = None
    """Tokens that are refused though they have not expired, as `keybridge token revoke` writes them."""

    health_role: Role | None = None
    """The least role that may ask for health; when not set, everybody may."""

    reflection: bool | None = None
    """Whether the service tells its contract to who asks; when not set, on a loopback address only."""

    reflection_role: Role | None = None
    """The least role that may use reflection; when not set, everybody may."""

    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """The least important log line that is written."""

    log_format: Literal["auto", "json", "console"] = "auto"
    """How log lines look; auto is console on a terminal and JSON elsewhere."""

    database_url: Annotated[SecretStr | None, Named("{prefix}DATABASE_URL", "DATABASE_URL")] = None
    """The PostgreSQL to use, as a postgresql:// URL; it wins over the DB_ settings."""

    db_host: Annotated[str | None, Named("DB_HOST")] = None
    """The database's host or socket folder, where no URL is given."""

    db_port: Annotated[int | None, Field(ge=1, le=65535), Named("DB_PORT")] = None
    """The database's port, where no URL is given."""

    db_user: Annotated[str | None, Named("DB_USER")] = None
    """The database's user, where no URL is given."""

    db_password: Annotated[SecretStr | None, Named("DB_PASSWORD")] = None
    """The password of the database's user, where no URL is given."""

    db_name: Annotated[str | None, Named("DB_NAME")] = None
    """The database's name, where no URL is given."""

    db_sslmode: Annotated[
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None,
        Named("DB_SSLMODE"),
    ] = None
    """How the connection to the database is encrypted, where no URL is given."""

    db_role_prefix: Annotated[
        str, Field(pattern=r"^[a-z_][a-z0-9_]{0,40}$"), Named("KEYBRIDGE_DB_ROLE_PREFIX")
    ] = "keybridge"
    """What the names of the roles begin with that `keybridge db grants` makes; the same for all who use a database."""

    db_pool_size: int = Field(20, ge=1, le=_MOST_CONNECTIONS)
    """How many connections to the database are kept open, per process."""

    db_principal_share: int = Field(5, ge=0, le=_MOST_CONNECTIONS)
    """How many of these the changes of one principal may hold at once; more of them wait. 0 is no limit. Where
    there are no more connections than this, it is one less than there are, so that others have one."""

    db_max_overflow: int = Field(0, ge=0, le=_MOST_CONNECTIONS)
    """How many more are opened under load; they close on return, which costs more than waiting does."""

    db_pool_timeout: PositiveDuration = Field(timedelta(seconds=30), le=_A_DAY)
    """How long to wait for a free connection before the call answers UNAVAILABLE."""

    db_pool_recycle: PositiveDuration = Field(timedelta(seconds=1800), le=_A_WEEK)
    """The age at which a connection is replaced, before a firewall between forgets it."""

    db_pool_pre_ping: bool = True
    """Whether a connection is tried before it is used, so that one that died while idle does no harm."""

    db_connect_timeout: PositiveDuration = Field(timedelta(seconds=10), le=_A_DAY)
    """How long opening one connection may take."""

    db_start_timeout: Duration = Field(timedelta(seconds=30), le=_A_DAY)
    """How long the start waits for a database that does not answer yet."""

    db_statement_timeout: PositiveDuration = Field(timedelta(seconds=30), le=_A_DAY)
    """How long PostgreSQL may work on one statement."""

    readiness_interval: PositiveDuration = Field(timedelta(seconds=5), le=_A_DAY)
    """How often the database is probed; after two failures in a row health says NOT_SERVING until it answers."""

    migrate_on_start: bool = False
    """Whether the service brings the schema to its own revision before it starts."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is handed in only: ``load`` reads the variables, from the mapping that it is given."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @classmethod
    def variable(cls, field: str) -> str:
        """The variable that sets a field, for sentences."""
        return variables.names(field, cls.model_fields[field], cls.prefix())[0]

    def origin(self, field: str) -> str:
        """The variable that did set a field, where several can; for sentences about its value."""
        return self._origins.get(field, self.variable(field))

    @classmethod
    def prefix(cls) -> str:
        """What the names of the service's own variables begin with."""
        return cls.model_config["env_prefix"]

    @classmethod
    def secret_variables(cls) -> set[str]:
        """The variables whose values are secrets."""
        return variables.secret_names(cls, cls.prefix())

    @property
    def audience(self) -> str:
        """The audience of the tokens that are taken, the default worked out."""
        return self.token_audience or self.prefix().rstrip("_").lower()

    @property
    def authenticates(self) -> bool:
        """Whether callers have to say who they are."""
        return self.jwks_file is not None or self.principals_file is not None

    @property
    def reflection_enabled(self) -> bool:
        """Whether to serve reflection, the default worked out."""
        return self.listen.is_loopback if self.reflection is None else self.reflection

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        certificate, key = self.variable("tls_cert_file"), self.variable("tls_key_file")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            given, absent = (certificate, key) if self.tls_cert_file else (key, certificate)
            raise ValueError(f"{given} is set without {absent}")
        if self.tls_cert_file is None and self.tls_client_ca_file is not None:
            raise ValueError(f"{self.variable('tls_client_ca_file')} is set without {certificate} and {key}")
        if self.tls_cert_file is None and not self.listen.is_loopback:
            raise ValueError(
                f"{certificate} and {key} are required, because {self.variable('listen')} ({self.listen}) "
                "is not a loopback address"
            )
        return self

    @model_validator(mode="after")
    def _check_authentication(self) -> Self:
        keys, principals = self.variable("jwks_file"), self.variable("principals_file")
        authority = self.variable("tls_client_ca_file")
        if self.principals_file is not None and self.tls_client_ca_file is None:
            raise ValueError(f"{principals} is set without {authority}")
        if self.deny_list_file is not None and self.jwks_file is None:
            raise ValueError(f"{self.variable('deny_list_file')} is set without {keys}")
        if self.authenticates:
            return self
        reason = ""
        if not self.listen.is_loopback:
            reason = f"{self.variable('listen')} ({self.listen}) is not a loopback address"
        elif self.tls_client_ca_file is not None:
            reason = f"{authority} alone does not say who a client is"
        if reason:
            raise ValueError(f"{keys} or {principals} is required, because {reason}")
        return self


class Described(NamedTuple):
    """One setting for help and documentation."""

    name: str
    default: str
    doc: str


def load(settings_type: type[S], environ: Mapping[str, str]) -> S:
    """Read the settings from ``environ``; all that is wrong is the sentence of a ``SettingsError``."""
    prefix = settings_type.prefix()
    reading = variables.read(settings_type, prefix, environ, settings_type.also_known)
    try:
        settings = settings_type.model_validate(reading.values)
    except ValidationError as error:
        reading.problems.extend(variables.complaints(error, settings_type, prefix, reading))
    else:
        if not reading.problems:
            settings._origins.update(reading.origins)
            return settings
    raise SettingsError("; ".join(reading.problems))


def describe(settings_type: type[ServiceSettings]) -> list[Described]:
    """Every setting of a service: its variable, its default as one would write it, and what it means."""
    described = []
    for name, info in settings_type.model_fields.items():
        default = "required" if info.is_required() else _written(variables.raw_default(info))
        described.append(Described(settings_type.variable(name), default, variables.documentation(info)))
    return described


def _written(value: object) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(_written(each) for each in value)
    return "" if value is None else str(value)
