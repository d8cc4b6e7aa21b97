"""Writes ``servicekit/exchanges.json``, the catalogue of exchanges, from the ccxt that is installed.

    python -m bridgeservice.exchanges.catalogue            to standard output
    python -m bridgeservice.exchanges.catalogue --write    over the file in servicekit/
    python -m bridgeservice.exchanges.catalogue --check    exit status 1 and the difference if it has drifted

What ccxt knows is taken from ccxt. What it has forgotten (old names, exchanges that it no longer serves) is
in two tables below; they were made by comparing ccxt 4.5.90 with five of its releases from 3.0.80 to 4.5.30.
"""

import argparse
import copy
import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ccxt

from servicekit.catalogue import PATH, Exchange

# ccxt's name of a credential → ours, in the order in which they are asked for. The first three are fields
# of ``Credentials``, the others travel in its ``extra`` under ccxt's name.
CREDENTIAL_NAMES: Mapping[str, str] = {
    "apiKey": "api_key",
    "secret": "api_secret",
    "password": "passphrase",
    "uid": "uid",
    "accountId": "accountId",
    "login": "login",
    "privateKey": "privateKey",
    "walletAddress": "walletAddress",
    "token": "token",
    "twofa": "twofa",
}

# Old name → present id. Most were alias classes in an older ccxt; the rest are other names of the same venue:
# coinbasepro and coinbaseprime (Coinbase Exchange), huobijp (BitTrade), and classes numbered by API version.
RENAMED: Mapping[str, str] = {
    "bitcoincom": "fmfwio",
    "bitfinex2": "bitfinex",
    "bitpanda": "onetrading",
    "bitstamp1": "bitstamp",
    "coinbaseadvanced": "coinbase",
    "coinbaseprime": "coinbaseexchange",
    "coinbasepro": "coinbaseexchange",
    "gateio": "gate",
    "hitbtc3": "hitbtc",
    "huobi": "htx",
    "huobijp": "bittrade",
    "huobipro": "htx",
    "lbank2": "lbank",
    "mexc3": "mexc",
    "okex": "okx",
    "okex5": "okx",
}

# Exchanges that ccxt has dropped: their keys survive, as EXCHANGE_UNSUPPORTED. One that comes back goes.
RETIRED: Mapping[str, str] = {
    "ace": "ACE",
    "arkham": "ARKHAM",
    "ascendex": "AscendEX",
    "bitbay": "BitBay",
    "bitforex": "Bitforex",
    "bitmart": "BitMart",
    "bitmex": "BitMEX",
    "bittrex": "Bittrex",
    "bkex": "BKEX",
    "bl3p": "BL3P",
    "btcalpha": "BTC-Alpha",
    "btcex": "BTCEX",
    "btctradeua": "BTC Trade UA",
    "buda": "Buda",
    "coincatch": "CoinCatch",
    "coinex": "CoinEx",
    "coinfalcon": "CoinFalcon",
    "coinlist": "Coinlist",
    "coinmetro": "Coinmetro",
    "currencycom": "Currency.com",
    "defx": "Defx X",
    "ellipx": "Ellipx",
    "exmo": "EXMO",
    "flowbtc": "flowBTC",
    "idex": "IDEX",
    "itbit": "itBit",
    "kuna": "Kuna",
    "lykke": "Lykke",
    "novadax": "NovaDAX",
    "oceanex": "OceanEx",
    "okcoin": "OKCoin",
    "oxfun": "OXFUN",
    "poloniexfutures": "Poloniex Futures",
    "probit": "ProBit",
    "ripio": "Ripio",
    "stex": "STEX",
    "tidex": "Tidex",
    "timex": "TimeX",
    "tradeogre": "tradeogre",
    "vertex": "Vertex",
    "wavesexchange": "Waves.Exchange",
    "wazirx": "WazirX",
    "yobit": "YoBit",
    "zb": "ZB",
    "zonda": "Zonda",
}

# Our own exchange: all its money is play money, so it has no sandbox beside it and asks for no credentials.
PAPER = Exchange(id="paper", name="Paper", aliases=(), required_credentials=(), has_sandbox=False)


def exchanges() -> list[Exchange]:
    """Every exchange of the installed ccxt, and ``paper``, by id."""
    venues = {exchange_id: getattr(ccxt, exchange_id)() for exchange_id in ccxt.exchanges}
    renamed = dict(RENAMED)
    for exchange_id, venue in venues.items():
        if venue.alias:  # an old name that ccxt still carries, as a class that inherits from the present one
            renamed[exchange_id] = type(venue).__mro__[1].__name__
    found = [
        Exchange(
            id=exchange_id,
            name=venue.name,
            aliases=tuple(sorted(old for old, present in renamed.items() if present == exchange_id)),
            required_credentials=_required_credentials(venue),
            has_sandbox=_has_sandbox(venue),
        )
        for exchange_id, venue in venues.items()
        if exchange_id not in renamed
    ]
    return sorted([*found, PAPER], key=lambda exchange: exchange.id)


def _required_credentials(venue: Any) -> tuple[str, ...]:  # Any: ccxt ships no types
    required = {name for name, wanted in venue.requiredCredentials.items() if wanted}
    if unknown := required - CREDENTIAL_NAMES.keys():
        raise ValueError(f"{venue.id} requires credentials that we have no name for: {sorted(unknown)}")
    return tuple(ours for theirs, ours in CREDENTIAL_NAMES.items() if theirs in required)


def _has_sandbox(venue: Any) -> bool:  # Any: ccxt ships no types
    """Whether ccxt's sandbox mode leaves the live market: by other URLs, or by a header on requests (okx).

    ``urls['test']`` alone is not enough: an exchange may repeat its live URLs there and move only some calls
    to a demonstration path (weex). A key for the sandbox must never trade there.
    """
    if not venue.urls.get("test"):
        return False
    live = copy.deepcopy((venue.urls["api"], venue.headers))
    venue.set_sandbox_mode(True)
    return (venue.urls["api"], venue.headers) != live


def render() -> str:
    """The catalogue as the text of its file: one line an exchange, so that a diff names what changed."""
    entries = [
        {
            "id": exchange.id,
            "name": exchange.name,
            "aliases": exchange.aliases,
            "required_credentials": exchange.required_credentials,
            "sandbox": exchange.has_sandbox,
        }
        for exchange in exchanges()
    ]
    retired = [{"id": exchange_id, "name": name} for exchange_id, name in sorted(RETIRED.items())]
    return (
        f'{{\n  "ccxt": {json.dumps(ccxt.__version__)},\n'
        f'  "exchanges": {_lines(entries)},\n'
        f'  "retired": {_lines(retired)}\n}}\n'
    )


def _lines(entries: Sequence[Mapping[str, object]]) -> str:
    rows = ",\n    ".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    return f"[\n    {rows}\n  ]"


def main(arguments: Sequence[str] | None = None, *, path: Path = PATH) -> int:
    """Print, write or check the catalogue; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bridgeservice.exchanges.catalogue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help=f"write {PATH.name}")
    action.add_argument("--check", action="store_true", help=f"fail when {PATH.name} differs from ccxt")
    options = parser.parse_args(arguments)
    text = render()
    if options.write:
        path.write_text(text, encoding="utf-8")
        return 0
    if options.check:
        return _check(path, text)
    sys.stdout.write(text)
    return 0


def _check(path: Path, text: str) -> int:
    committed = path.read_text(encoding="utf-8")
    if committed == text:
        return 0
    difference = difflib.unified_diff(
        committed.splitlines(keepends=True), text.splitlines(keepends=True), path.name, "from ccxt"
    )
    sys.stderr.writelines(difference)
    sys.stderr.write(f"{path.name} differs from ccxt {ccxt.__version__}: run this with --write.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
