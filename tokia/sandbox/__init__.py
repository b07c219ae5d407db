"""The outside world on loopback: what Tokia talks to when no real bank, registry or provider is configured.

One process (`python -m tokia.sandbox`) plays the receiving bank (API Pix over mTLS), PTAX, the CNPJ registry, an e-mail
inbox and the LLM providers; `python -m tokia.sandbox.model` runs a real, small language model beside it.

It imports nothing from the apps and refuses to start in production: what it answers must come from the outside world's
own specifications, never from Tokia's idea of them.

Rooms: `app` (paths), `servers` (sockets, signals), `asgi` (request and response), `store` (what survives a restart);
`psp`, `bank`, `bank_pages`, `hooks`, `brcode`, `certs`, `pix_schemas_2_9_0` (PIX); `olinda`, `cnpj`, `inbox`;
`llm` and the `llm_*` files (providers), `faults` (what can go wrong upstream), `model` (the real model).
"""
