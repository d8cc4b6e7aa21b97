"""How both services speak gRPC: one server, one chain around every call, one way to be a client."""
