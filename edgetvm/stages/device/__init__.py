"""The device at the other end of an RPC session: serve, connect, check and time."""
