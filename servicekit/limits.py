"""The settings of what a server takes, from everybody together and from each caller, and for how long."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from servicekit.values import Duration, PositiveDuration

# A number too many would otherwise be refused by gRPC, or mean never.
_MOST = 2**31 - 1
_A_DAY = timedelta(hours=24)
_A_WEEK = timedelta(days=7)


class LimitSettings(BaseSettings):
    """The limits of one process; several workers or replicas have each their own."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    default_deadline: PositiveDuration = Field(timedelta(seconds=60), le=_A_DAY)
    """The deadline of a unary call that comes without one. Streams have none."""

    deadline_floor: Duration = Field(timedelta(milliseconds=20), le=_A_DAY)
    """A call with less time left than this is refused at once: nothing useful can be done in it."""

    max_stream_age: PositiveDuration = Field(timedelta(minutes=30), le=_A_DAY)
    """How long a stream may be open, idle or not; it then ends with UNAVAILABLE, for its caller to begin anew."""

    max_concurrent_rpcs: int = Field(1000, ge=1, le=_MOST)
    """How many calls may be under way at once, per process; one more answers RESOURCE_EXHAUSTED."""

    max_public_streams: int = Field(100, ge=1, le=_MOST)
    """How many streams of health, and as many of reflection, may be open at once, per process, to callers who do not
    say who they are, and how many of their calls are waited for whose request has not come. Well below the calls that
    may be under way."""

    max_concurrent_streams: int = Field(100, ge=1, le=_MOST)
    """How many calls may be under way at once on one connection; with more, a client opens another one, or waits."""

    max_connections: int = Field(10_000, ge=1, le=_MOST)
    """How many connections may be open at once, per process, if the system lets it have as many files; one more is
    closed."""

    max_connection_age: PositiveDuration = Field(timedelta(hours=1), le=_A_WEEK)
    """How old a connection may be; what is under way then may finish, and clients go on with another one."""

    principal_rate: float = Field(100, ge=0, le=_MOST)
    """How many calls a second one principal may make in the long run, per process; one more answers
    RESOURCE_EXHAUSTED. 0 is no limit. Not for the role bridge-writer, nor where nobody has to say who he is."""

    principal_burst: int = Field(200, ge=1, le=_MOST)
    """How many calls may come at once from a principal that was quiet before."""

    principal_calls: int = Field(100, ge=0, le=_MOST)
    """How many unary calls of one principal may be under way at once, per process. 0 is no limit."""

    principal_streams: int = Field(100, ge=0, le=_MOST)
    """How many streams one principal may have open at once, per process. 0 is no limit."""

    max_message_bytes: int = Field(1024 * 1024, ge=1024, le=_MOST)
    """The largest request message that is taken. What the service itself answers is not limited."""

    max_metadata_bytes: int = Field(16 * 1024, ge=1024, le=_MOST)
    """The largest set of headers that a call may bring."""
