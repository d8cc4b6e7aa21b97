"""All SQL of TradingBridge. Nothing here commits: a unit of work is its caller's, or is said to be its own."""
