"""The hot path: `/v1`, spoken as OpenAI speaks it, metered and paid call by call.

Nouns: Provider, Credential, Route, Deployment, StoredResponse; in flight Caller, ChatCall, Attempt, Reply.
Parents: `chat.complete_chat`, `embeddings.embed`, `models_list.list_models`; the ASGI edge is `asgi.app`.
From `asgi` to `relay` it is async and free of Django; it reads frozen snapshots (`callers`, `catalog`) and writes money
through one bridge (`metering`). Knows billing and accounts; nobody below knows it.
"""
