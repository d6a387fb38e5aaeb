"""Muon: momentum whose matrices are made orthogonal, so that every direction of a matrix moves equally far.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the iteration's coefficients are
those of Amsel et al. 2025, arXiv:2505.16932.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

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
    every few updates, and used in between as it is.

    Args:
        matrices: Of shape (G*H, K): of G gates, one above the other.
        hidden_size: H.
        others: Moves the other parameters. Its groups are this one's, too, and so is its state.
        momentum: Decay of the mean of the gradients, in [0, 1).
        weight_decay: How strongly matrices shrink, times the learning rate.
        every: Updates that use an orthogonal matrix before there is a new one, at least 1.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        hidden_size: int,
        others: torch.optim.Optimizer,
        momentum: float,
        weight_decay: float,
        every: int,
    ) -> None:
        own = {"params": list(matrices), "momentum": momentum, "weight_decay": weight_decay, "orthogonal": True}
        super().__init__([own, *others.param_groups], {"lr": 0.0})
        self._others = others
        others.state = self.state
        self._hidden_size = hidden_size
        self._every = every

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        self._others.step()
        group = self.param_groups[0]
        for matrix in group["params"]:
            if matrix.grad is not None:
                self._move(matrix, matrix.grad, self.state[matrix], group)

    def _move(self, matrix: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(matrix)}
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        if int(state["step"]) % self._every == 0:
            gates = state["momentum"].view(-1, self._hidden_size, matrix.shape[1])
            state["direction"] = torch.cat([orthogonal(gate) for gate in gates])
        state["step"] += 1
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(state["direction"], alpha=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about the orthogonal matrix nearest to a matrix (M, K): its singular vectors, all values near 1."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    x = wide / (wide.norm() + _EPSILON)
    for a, b, c in _COEFFICIENTS:
        square = x @ x.t()
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    found: Tensor = x if wide is matrix else x.t()
    return found
