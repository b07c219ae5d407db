"""The pools of our keys at providers: how much each may still be asked, and which of them its provider refuses.

Told of each call; asked before each. Neither waits for anything: what is shared is read and written in the background.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.calls import ServedDeployment


class Credentials:
    """The credentials of this process."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def may_use(self, deployment: ServedDeployment) -> bool:
        """Whether its credential is alive, and its minute has a request left (`Credential.requests_per_minute`)."""
        return True

    def spend(self, deployment: ServedDeployment, tokens: int) -> None:
        """One request is about to be sent, of about so many tokens, in and out."""

    def note_refused(self, credential_id: int, code: str) -> None:
        """Its provider refused the key itself (401, 402, 403): nobody uses it until it is tried again."""

    def note_limits(self, credential_id: int, headers: Mapping[bytes, bytes]) -> None:
        """What the headers of an answer say of what is left at the provider; looked at once in a while."""
