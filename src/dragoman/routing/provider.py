"""What the targets of one provider share: its places, and what may be repeated (ADR-0039)."""

import attrs

from dragoman.model import Provider
from dragoman.routing.reactions import Policy


@attrs.define(kw_only=True, eq=False)
class RetryBudget:
    """What may be repeated: it is earned with requests, and a little with time, so that a quiet gateway may retry.

    It has a *balance* since *at*.
    """

    policy: Policy
    at: float
    balance: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with what may be saved."""
        self.balance = self._savings

    @property
    def _savings(self) -> float:
        return self.policy.retry_savings * self.policy.retry_cost

    def earn(self) -> None:
        """Note a first attempt; more than may be saved is cut off when it is spent."""
        self.balance += 1

    def spend(self, now: float) -> bool:
        """Take what a retry costs, if there is enough."""
        self.balance = min(self.balance + now - self.at, self._savings)
        self.at = now
        if self.balance < self.policy.retry_cost:
            return False
        self.balance -= self.policy.retry_cost
        return True


@attrs.define(kw_only=True, eq=False)
class ProviderState:
    """A *provider* as it is met: *taken* of its places are in use."""

    provider: Provider
    budget: RetryBudget
    capacity: int = attrs.field(init=False)
    taken: int = 0

    def __attrs_post_init__(self) -> None:
        """Take the capacity out of the record: it is looked at for every request."""
        self.capacity = self.provider.capacity

    def become(self, provider: Provider) -> bool:
        """Be *provider* from now on, and return whether it was another one: the capacity makes no difference."""
        before, self.provider, self.capacity = self.provider, provider, provider.capacity
        return attrs.evolve(before, capacity=provider.capacity) != provider
