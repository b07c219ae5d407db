"""`make bench`: what the gateway costs, with authentication, limits, hold, settlement and usage record on.

`upstream` is a very cheap provider with a ledger of its own, `load` asks, `__main__` starts the same processes as `make up`,
measures CPU per request and added latency against the upstream asked directly, and `routing` alone; it fails unless usage records,
wallet and the upstream's ledgers agree to the token and the nano.
"""

ROUTES = {"openai": "bench/echo", "anthropic": "bench/messages"}  # the provider's dialect → what is sold
