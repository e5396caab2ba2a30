"""Orders of the hypotheses that were asked for and are not in the log yet."""

from __future__ import annotations

from collections.abc import Sequence

Order = tuple[str, ...]
"""Ids of hypotheses, the likeliest first."""


class PendingOrders:
    """The orders that were asked for, the last of which the next move starts from."""

    def __init__(self) -> None:
        self._orders: list[Order] = []

    def came_true(self, ranking: Order) -> None:
        """Forget the orders up to the one that came true; another's order makes all of them void."""
        at = self._orders.index(ranking) + 1 if ranking in self._orders else None
        del self._orders[:at]

    def moved(self, ranked: Sequence[str], hypothesis: str, step: int) -> Order | None:
        """Return the order with a hypothesis moved, which is pending then; None at either end."""
        order = list(self._orders[-1] if self._orders else ranked)
        order += [it for it in ranked if it not in order]
        at = order.index(hypothesis)
        to = at + step
        if not 0 <= to < len(order):
            return None
        order[at], order[to] = order[to], order[at]
        self._orders.append(tuple(order))
        return self._orders[-1]
