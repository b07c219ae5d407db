"""The addresses of `/v1` that a chat model answers, each in its own words: one file per surface. Pure but for what they keep."""
