"""The names of the contracts are fixed: other programs are written against them. This is the list."""

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

KEY_SERVICE = "keyservice/v1/key_service.proto"
TRADING_BRIDGE = "bridgeservice/v1/trading_bridge.proto"

ADDED = "api_key message trading_bridge_configured trading_bridge_warning"
PAGE = "page_size page_token"
CONNECTOR = "account_name connector_name"

# A method's request and response, field by field in their order.
KEY_SERVICE_METHODS = {
    "CreateClient": ("name external_id request_id", "client"),
    "GetClient": ("client_id", "client"),
    "ListClients": (f"{PAGE} show_deleted", "clients next_page_token"),
    "UpdateClient": ("client update_mask", "client"),
    "DeleteClient": ("client_id", "client"),
    "UndeleteClient": ("client_id", "client"),
    "AddApiKey": ("client_id exchange label environment credentials verify request_id", ADDED),
    "RotateApiKey": ("api_key_id credentials verify request_id", ADDED),
    "ReinitializeApiKey": ("api_key_id", ADDED),
    "ReinitializeApiKeys": ("client_id exchange only_unconfigured", "total done configured api_key"),
    "GetApiKey": ("api_key_id", "api_key"),
    "ListApiKeys": (f"client_id exchange state {PAGE} show_deleted", "api_keys next_page_token"),
    "UpdateApiKey": ("api_key update_mask", "api_key"),
    "DeleteApiKey": ("api_key_id", "api_key"),
    "UndeleteApiKey": ("api_key_id", "api_key"),
    "VerifyApiKey": ("api_key_id", "api_key permissions message"),
    "WatchApiKeys": ("client_id", "api_key"),
    "GetBalances": ("client_id exchange max_age", "keys totals complete"),
    "GetBridgeHealth": (
        "",
        "reachable latency instance_id start_time configured_keys pending_keys failed_keys warning",
    ),
    "ListAuditEvents": (f"client_id {PAGE}", "events next_page_token"),
}

TRADING_BRIDGE_METHODS = {
    "GetBridgeInfo": ("", "instance_id start_time version account_count connector_count egress_address"),
    "ListExchanges": (PAGE, "exchanges next_page_token"),
    "CreateAccount": ("account_name", "account"),
    "GetAccount": ("account_name", "account"),
    "ListAccounts": (PAGE, "accounts next_page_token"),
    "DeleteAccount": ("account_name", ""),
    "AddConnector": (
        f"{CONNECTOR} exchange credentials environment revision verify",
        "connector permissions warning",
    ),
    "GetConnector": (CONNECTOR, "connector permissions"),
    "VerifyConnector": (f"{CONNECTOR} revision", "connector permissions warning"),
    "RemoveConnector": (f"{CONNECTOR} revision", ""),
    "ListConnectors": (f"account_name {PAGE}", "connectors next_page_token"),
    "GetPortfolio": (
        "account_name connector_names quote_asset max_age revisions",
        "connectors unpriced_assets complete",
    ),
    "PlaceOrder": (
        f"{CONNECTOR} symbol side type amount price time_in_force post_only reduce_only request_id params",
        "order",
    ),
    "CancelOrder": ("account_name order_id", "order"),
    "CancelAllOrders": (f"{CONNECTOR} symbol", "orders"),
    "GetOrder": ("account_name order_id", "order"),
    "ListOrders": (f"{CONNECTOR} symbol open_only {PAGE}", "orders next_page_token"),
    "ListTrades": (f"{CONNECTOR} symbol start_time {PAGE}", "trades next_page_token"),
    "ListPositions": (f"{CONNECTOR} symbol start_time {PAGE}", "positions next_page_token"),
    "GetTicker": ("exchange symbol", "ticker"),
    "ListTickers": (f"exchange symbols {PAGE}", "tickers next_page_token"),
    "GetOrderBook": ("exchange symbol depth", "order_book"),
    "ListCandles": (f"exchange symbol timeframe start_time {PAGE}", "candles next_page_token"),
    "ListMarkets": (f"exchange symbols {PAGE}", "markets next_page_token"),
    "GetPortfolioHistory": ("account_name start_time end_time interval", "points"),
    "SetRiskRules": (f"{CONNECTOR} rules", "rules"),
    "GetRiskRules": (CONNECTOR, "rules kill_switches"),
    "EngageKillSwitch": (f"{CONNECTOR} reason cancel_open_orders", "kill_switch orders"),
    "ReleaseKillSwitch": (CONNECTOR, ""),
}

STREAMS = {"ReinitializeApiKeys", "WatchApiKeys"}

MESSAGES: dict[str, str] = {
    "keyservice.v1.Client": "id name external_id account_name create_time update_time delete_time",
    "keyservice.v1.ApiKey": """id client_id exchange label connector_name environment key_hint disabled
        revision permissions verify_time trading_bridge_configured bridge_status create_time update_time
        delete_time""",
    "keyservice.v1.BridgeStatus": """configured state reason warning attempt_count
        last_attempt_time next_attempt_time configured_time""",
    "keyservice.v1.KeyBalances": """api_key_id exchange label configured status warning balances
        as_of_time""",
    "keyservice.v1.BalanceTotal": "kind asset free used total",
    "keyservice.v1.AuditEvent": """id create_time principal action client_id api_key_id request_id
        outcome""",
    "bridgeservice.v1.Credentials": "api_key api_secret passphrase extra",
    "bridgeservice.v1.Permissions": "read trade withdraw",
    "bridgeservice.v1.Exchange": "id name required_credentials sandbox capabilities",
    "bridgeservice.v1.Account": "account_name connectors create_time",
    "bridgeservice.v1.Connector": f"{CONNECTOR} exchange environment revision instance_id create_time",
    "bridgeservice.v1.Balance": "asset free used total value",
    "bridgeservice.v1.ConnectorPortfolio": "connector_name exchange status error balances as_of_time",
    "bridgeservice.v1.PortfolioPoint": "time value quote_asset balances complete",
    "bridgeservice.v1.Order": f"""order_id exchange_order_id client_order_id {CONNECTOR} symbol side type
        time_in_force state reason amount filled remaining price average_price cost fees external create_time
        update_time""",
    "bridgeservice.v1.Fee": "asset amount",
    "bridgeservice.v1.Trade": """trade_id exchange_trade_id order_id symbol side amount price cost fees
        time""",
    "bridgeservice.v1.Position": """symbol side amount entry_price mark_price unrealized_pnl leverage
        liquidation_price""",
    "bridgeservice.v1.RiskRule": "kind action limit quote_asset symbols",
    "bridgeservice.v1.KillSwitch": f"{CONNECTOR} reason cancel_open_orders engage_time",
    "bridgeservice.v1.Ticker": "exchange symbol bid ask last volume time",
    "bridgeservice.v1.OrderBook": "exchange symbol bids asks time",
    "bridgeservice.v1.OrderBookLevel": "price amount",
    "bridgeservice.v1.Candle": "time open high low close volume",
    "bridgeservice.v1.Market": """exchange symbol type base_asset quote_asset settle_asset active
        amount_step price_step min_amount max_amount min_price max_price min_cost max_cost contract_size""",
}

# An enum's values without their prefix, in the order of their numbers after UNSPECIFIED = 0.
ENUMS: dict[str, tuple[str, str]] = {
    "keyservice.v1.BridgeState": (
        "BRIDGE_STATE_",
        "PENDING CONFIGURED FAILED REMOVING REMOVED",
    ),
    "keyservice.v1.BridgeReason": (
        "BRIDGE_REASON_",
        """BRIDGE_TIMEOUT BRIDGE_UNAVAILABLE CREDENTIALS_REJECTED CREDENTIALS_INCOMPLETE EXCHANGE_UNSUPPORTED
        EXCHANGE_UNAVAILABLE RATE_LIMITED KEY_UNREADABLE BRIDGE_ERROR""",
    ),
    "keyservice.v1.FundsKind": ("FUNDS_KIND_", "LIVE SANDBOX PAPER"),
    "bridgeservice.v1.Environment": ("ENVIRONMENT_", "LIVE SANDBOX"),
    "bridgeservice.v1.ConnectorStatus": (
        "CONNECTOR_STATUS_",
        """OK NOT_FOUND CREDENTIALS_REJECTED RATE_LIMITED EXCHANGE_UNAVAILABLE EXCHANGE_UNSUPPORTED TIMEOUT
        ERROR NOT_CONFIGURED BRIDGE_TIMEOUT BRIDGE_UNAVAILABLE""",
    ),
    "bridgeservice.v1.Permission": ("PERMISSION_", "YES NO UNKNOWN"),
    "bridgeservice.v1.OrderSide": ("ORDER_SIDE_", "BUY SELL"),
    "bridgeservice.v1.OrderType": ("ORDER_TYPE_", "MARKET LIMIT"),
    "bridgeservice.v1.TimeInForce": ("TIME_IN_FORCE_", "GTC IOC FOK"),
    "bridgeservice.v1.OrderState": (
        "ORDER_STATE_",
        "PENDING UNKNOWN OPEN FILLED CANCELED REJECTED EXPIRED",
    ),
    "bridgeservice.v1.RiskRuleKind": (
        "RISK_RULE_KIND_",
        """ALLOWED_SYMBOLS MAX_ORDER_NOTIONAL MAX_DAILY_NOTIONAL MAX_OPEN_ORDERS MAX_ORDERS_PER_MINUTE
        READ_ONLY""",
    ),
    "bridgeservice.v1.RiskAction": ("RISK_ACTION_", "REFUSE REFUSE_AND_CANCEL WARN"),
    "bridgeservice.v1.PositionSide": ("POSITION_SIDE_", "LONG SHORT"),
    "bridgeservice.v1.MarketType": ("MARKET_TYPE_", "SPOT SWAP FUTURE OPTION"),
}


def _messages(descriptors: FileDescriptorSet) -> dict[str, DescriptorProto]:
    return {
        f"{file.package}.{message.name}": message
        for file in descriptors.file
        for message in file.message_type
    }


def _methods(descriptors: FileDescriptorSet, contract: str) -> list[MethodDescriptorProto]:
    (service,) = next(file.service for file in descriptors.file if file.name == contract)
    return list(service.method)


def _names(message: DescriptorProto) -> list[str]:
    return [field.name for field in message.field]


@pytest.mark.parametrize(
    ("contract", "table"), [(KEY_SERVICE, KEY_SERVICE_METHODS), (TRADING_BRIDGE, TRADING_BRIDGE_METHODS)]
)
def test_a_service_has_these_methods_with_these_fields(
    descriptors: FileDescriptorSet, contract: str, table: dict[str, tuple[str, str]]
) -> None:
    messages = _messages(descriptors)
    stated = {
        method.name: tuple(
            _names(messages[name.lstrip(".")]) for name in (method.input_type, method.output_type)
        )
        for method in _methods(descriptors, contract)
    }
    assert stated == {
        name: (request.split(), response.split()) for name, (request, response) in table.items()
    }


def test_the_services_are_called_so(descriptors: FileDescriptorSet) -> None:
    services = {f"{file.package}.{service.name}" for file in descriptors.file for service in file.service}
    assert services == {"keyservice.v1.KeyService", "bridgeservice.v1.TradingBridge"}


def test_only_these_methods_stream_and_only_their_answers(descriptors: FileDescriptorSet) -> None:
    methods = [*_methods(descriptors, KEY_SERVICE), *_methods(descriptors, TRADING_BRIDGE)]
    assert {method.name for method in methods if method.server_streaming} == STREAMS
    assert not [method.name for method in methods if method.client_streaming]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_resource_has_these_fields(descriptors: FileDescriptorSet, name: str) -> None:
    assert _names(_messages(descriptors)[name]) == MESSAGES[name].split()


@pytest.mark.parametrize("name", ENUMS)
def test_an_enum_has_these_values(descriptors: FileDescriptorSet, name: str) -> None:
    enums = {f"{file.package}.{enum.name}": enum for file in descriptors.file for enum in file.enum_type}
    prefix, values = ENUMS[name]
    expected = [prefix + value for value in ["UNSPECIFIED", *values.split()]]
    assert [(value.number, value.name) for value in enums[name].value] == list(enumerate(expected))


def test_the_lists_of_resources_and_enums_are_complete(descriptors: FileDescriptorSet) -> None:
    ours = [file for file in descriptors.file if file.name.startswith(("keyservice/", "bridgeservice/"))]
    messages = {
        f"{file.package}.{message.name}"
        for file in ours
        if file.name not in {KEY_SERVICE, TRADING_BRIDGE}
        for message in file.message_type
    }
    assert messages == MESSAGES.keys()
    assert {f"{file.package}.{enum.name}" for file in ours for enum in file.enum_type} == ENUMS.keys()


def test_no_number_is_of_a_type_that_loses_digits(descriptors: FileDescriptorSet) -> None:
    inexact = {FieldDescriptorProto.TYPE_DOUBLE, FieldDescriptorProto.TYPE_FLOAT}
    fields = {
        f"{name}.{field.name}": field.type
        for name, message in _messages(descriptors).items()
        if name.startswith(("keyservice.", "bridgeservice."))
        for field in message.field
    }
    assert fields
    assert not {name for name, kind in fields.items() if kind in inexact}


def test_the_bridge_knows_nothing_of_the_key_service(descriptors: FileDescriptorSet) -> None:
    imported = {
        name
        for file in descriptors.file
        if file.name.startswith(("bridgeservice/", "servicekit/"))
        for name in file.dependency
    }
    assert imported
    assert not {name for name in imported if name.startswith("keyservice/")}
