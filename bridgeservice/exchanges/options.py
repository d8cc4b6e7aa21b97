"""What the operator may set about exchanges. ``bridgeservice.settings`` reads it; here it only arrives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Options:
    """Every value has a default that works against the real exchanges."""

    urls: Mapping[str, str] = field(default_factory=dict)
    """Exchange id → base URL that stands for all of its hosts: a test net, a proxy, a simulator. That of its sandbox
    is under ``id:sandbox``."""

    proxy_url: str = field(default="", repr=False)
    """An HTTP proxy for all requests, for a fixed egress address. May hold a password, so it is not printed."""

    egress_address: str = ""
    """The address that exchanges see. Told to clients for their allow-lists; nothing here depends on it."""

    request_timeout: timedelta = timedelta(seconds=10)
    """How long one HTTP request may take, whatever the deadlines of those who wait for it."""

    rate_share: float = 1.0
    """The part of each exchange's rate limit that is ours: less than 1 where bridges share an egress address,
    more where an exchange has raised the limit."""

    longest_queue: timedelta = timedelta(seconds=30)
    """A request that would wait longer for its turn is refused at once, whatever the callers' deadlines."""

    markets_max_age: timedelta = timedelta(hours=6)
    """Markets older than this are loaded again in the background while the old ones still serve."""

    largest_answer: int = 4 * 2**20
    """Bytes of one answer, after decompression."""

    largest_markets: int = 64 * 2**20
    """The same for an answer that describes markets: binance's is over ten megabytes."""

    breaker_failures: int = 5
    """So many requests in a row without an answer, and an exchange counts as unreachable."""

    breaker_pause: timedelta = timedelta(seconds=5)
    """Then callers are told so at once, and one request in so much time tries whether it is back."""

    patience: timedelta = timedelta(seconds=3)
    """No answer within this counts as a failure of the exchange; a request that was given less proves nothing."""

    connections: int = 100
    """Open connections to one exchange; more requests than this wait among themselves."""
