"""TradingBridge's RPCs: check, convert, call one use case, convert back."""


class BridgeServicer:
    """Serves ``bridgeservice.v1.TradingBridge``; a method that is not here answers UNIMPLEMENTED."""
