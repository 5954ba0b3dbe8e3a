"""An identity behind one secret: a token, or a password, that acts for one organisation (ADR-0024).

Laws of this file:
- Only an exact secret passes, and comparing takes as long for a wrong one as for a right one.
"""

import hmac

import attrs

from dragoman.model import Agent, OrganizationId, Principal
from dragoman.ports import Identity


@attrs.frozen(kw_only=True)
class SecretIdentity:
    """Fits the port `Identity`; agents are those of the *store*."""

    _secret: bytes = attrs.field(repr=False)
    _principal: Principal
    _store: Identity

    async def principal(self, token: str) -> Principal | None:
        """Return the one principal when *token* is the secret, or None."""
        return self._principal if hmac.compare_digest(token.encode("utf-8"), self._secret) else None

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization*, or None."""
        return await self._store.agent(organization, named)


def build_secret_identity(secret: str, principal: Principal, store: Identity) -> SecretIdentity:
    """Return an identity for *secret*, which is compared as UTF-8."""
    return SecretIdentity(secret=secret.encode("utf-8"), principal=principal, store=store)
