"""Updates of weights as two factors: their part of rank 1, and shuffled as a null."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

#: Smaller matrices are decomposed exactly.
EXACT_SIDE = 256
#: Width of the block of the randomised decomposition, rounds of it at most, and where they end.
BLOCK, ROUNDS, SETTLED = 16, 40, 1e-6
#: Rows of two weights compared at a time, in float32.
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Factors:
    """An update as ``left`` [out, r] @ ``right`` [r, in], in float32.

    ``squared`` is the squared norm of the whole update, of which a rank-1 part holds some.
    """

    left: torch.Tensor
    right: torch.Tensor
    squared: float

    def rank1(self) -> Factors:
        """Return the part of the largest singular value: by QR of both factors, r x r."""
        left_q, left_r = torch.linalg.qr(self.left)
        right_q, right_r = torch.linalg.qr(self.right.T)
        u, sigma, vt = torch.linalg.svd(left_r @ right_r.T)
        return Factors(
            (left_q @ u[:, :1]) * sigma[0], (right_q @ vt[0])[None], float(sigma.square().sum())
        )

    def shuffled(self, seed: int) -> Factors:
        """Return the update with rows and columns in another order and some negated."""
        generator = torch.Generator().manual_seed(seed)
        left, right = self.left, self.right
        rows, columns = (
            torch.randperm(size, generator=generator).to(left.device)
            for size in (left.shape[0], right.shape[1])
        )
        signs = [
            (2 * torch.randint(2, (size,), generator=generator) - 1).to(left)
            for size in (left.shape[0], right.shape[1])
        ]
        return Factors(left[rows] * signs[0][:, None], right[:, columns] * signs[1], self.squared)


def rank1_of_difference(before: torch.Tensor, after: torch.Tensor) -> Factors:
    """Return the rank-1 part of ``after - before`` [rows, columns], never held as a whole if large.

    Small matrices exactly, others by randomised subspace iteration from a fixed seed until the
    largest singular value is settled (Halko, Martinsson and Tropp 2011, algorithm 4.4).
    """

    def parts() -> Iterator[torch.Tensor]:
        for old, new in zip(before.split(ROWS_AT_ONCE), after.split(ROWS_AT_ONCE), strict=True):
            yield new.float() - old.to(new.device).float()

    squared = sum(float(part.double().square().sum()) for part in parts())
    if not squared:
        nothing = torch.zeros(1, device=after.device)
        return Factors(nothing.expand(len(after), 1), nothing.expand(1, after.shape[1]), 0.0)
    if min(after.shape) <= EXACT_SIDE:
        u, sigma, vt = torch.linalg.svd(torch.cat(list(parts())), full_matrices=False)
        return Factors(u[:, :1] * sigma[0], vt[:1], squared)
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(after.shape[1], BLOCK, generator=generator).to(after.device)
    largest = 0.0
    for _round in range(ROUNDS):
        block = torch.linalg.qr(block)[0]
        image = torch.cat([part @ block for part in parts()])  # [rows, BLOCK]
        sigma_now = float(torch.linalg.matrix_norm(image, ord=2))
        if abs(sigma_now - largest) <= SETTLED * sigma_now:
            break
        largest = sigma_now
        pieces = image.split(ROWS_AT_ONCE)
        block = sum(
            (part.T @ piece for part, piece in zip(parts(), pieces, strict=True)),
            start=torch.zeros_like(block),
        )
    u, sigma, vt = torch.linalg.svd(image, full_matrices=False)
    return Factors(u[:, :1] * sigma[0], (block @ vt[0])[None], squared)
