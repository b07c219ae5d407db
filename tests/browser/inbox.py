"""What was mailed to whom, as the sandbox shows it."""

from __future__ import annotations

import re
import time

import httpx


def read_code(sandbox_url: str, email: str) -> str:
    """The confirmation code, from the inbox that the sandbox shows."""
    for _ in range(100):
        messages = httpx.get(f"{sandbox_url}/inbox/api/messages", params={"to": email}).json()["messages"]
        if messages and (found := re.search(r"^\s*(\d{6})\s*$", messages[0]["text"], re.MULTILINE)):
            return found[1]
        time.sleep(0.1)
    raise AssertionError("no confirmation e-mail in the sandbox's inbox")
