"""Secrets at rest, as the gateway's rooms know them: `tokia.sealing`, which lower floors use too."""

from tokia.sealing import SecretUnreadable, decrypt, encrypt, mark, reseal, rotate, seal, unseal

__all__ = ["SecretUnreadable", "decrypt", "encrypt", "mark", "reseal", "rotate", "seal", "unseal"]
