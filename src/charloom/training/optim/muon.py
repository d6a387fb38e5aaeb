"""Muon: momentum whose matrices are made orthogonal, so that every direction of a matrix moves equally far.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the iteration's coefficients are
those of Amsel et al. 2025, arXiv:2505.16932.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from charloom.training.distributed.process_group import ALONE, Ranks

_EPSILON = 1e-7  # keeps a gradient of zeros from being divided by zero
_COEFFICIENTS = (  # of x, (x xT) x and (x xT)^2 x; five of them bring all singular values near 1
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


class Muon(torch.optim.Optimizer):
    """Moves the matrices of recurrent layers' gates, each gate's by itself, and leaves all else to another optimizer.

    The orthogonal matrix costs more than the rest of an update, and the momentum turns slowly: so it is made anew only
    every few updates, and used in between as it is. Processes that train together make some of them each.

    Args:
        matrices: Of shape (G*H, H): of G gates, one above the other.
        hidden_size: H.
        others: Moves the other parameters. Its groups are this one's, too, and so is its state.
        momentum: Decay of the mean of the gradients, in [0, 1).
        weight_decay: How strongly matrices shrink, times the learning rate.
        every: Updates that use an orthogonal matrix before there is a new one, at least 1.
        precision: Of the products that make a matrix orthogonal.
        ranks: The processes that train together; all of them call ``step``.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        hidden_size: int,
        others: torch.optim.Optimizer,
        momentum: float,
        weight_decay: float,
        every: int,
        precision: torch.dtype = torch.float32,
        ranks: Ranks = ALONE,
    ) -> None:
        own = {"params": list(matrices), "momentum": momentum, "weight_decay": weight_decay, "orthogonal": True}
        super().__init__([own, *others.param_groups], {"lr": 0.0})
        self._others = others
        others.state = self.state
        self._hidden_size = hidden_size
        self._every = every
        self._precision = precision
        self._ranks = ranks

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        self._others.step()
        group = self.param_groups[0]
        moved = [matrix for matrix in group["params"] if matrix.grad is not None]
        for matrix in moved:
            state: dict[str, Any] = self.state[matrix]
            if not state:
                state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(matrix)}
            state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
        self._turn([matrix for matrix in moved if int(self.state[matrix]["step"]) % self._every == 0])
        for matrix in moved:
            self.state[matrix]["step"] += 1
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(self.state[matrix]["direction"], alpha=-group["lr"])

    def _turn(self, matrices: Sequence[Tensor]) -> None:
        """Make the directions of matrices anew; every process makes those of its share of their gates."""
        if not matrices:
            return
        size = self._hidden_size
        gates = torch.cat([self.state[matrix]["momentum"].view(-1, size, size) for matrix in matrices])
        own = [orthogonal(gate, self._precision) for gate in gates[self._ranks.rows(len(gates))]]
        made = self._ranks.whole(torch.stack(own) if own else gates[:0], len(gates), 0)
        parts = torch.split(made.view(-1, size), [len(matrix) for matrix in matrices])
        for matrix, direction in zip(matrices, parts, strict=True):
            self.state[matrix]["direction"] = direction


def orthogonal(matrix: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """Return about the orthogonal matrix nearest to a matrix (M, K): its singular vectors, all values near 1.

    Args:
        matrix: Of any size.
        precision: Of the products; they are the same ones whatever the matrix' own.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    x = (wide / (wide.norm() + _EPSILON)).to(precision)
    for a, b, c in _COEFFICIENTS:
        square = x @ x.t()
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    found: Tensor = x if wide is matrix else x.t()
    return found.to(matrix.dtype)
