"""The optimizer Muon: momentum that is orthogonalized, so that an update changes all directions of a matrix equally.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". The coefficients of the
orthogonalizing iteration are those of Amsel et al. 2025, arXiv:2505.16932.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup

_EPSILON = 1e-7  # avoids a division by zero if the gradient is zero
_COEFFICIENTS = (  # (a, b, c) of a x + b (x x.T) x + c (x x.T)^2 x; five iterations bring all singular values near 1
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


class Muon(torch.optim.Optimizer):
    """Updates the gate matrices of recurrent layers with Muon, gate by gate, and the rest with another optimizer.

    Orthogonalization takes longer than the rest of an update, and the direction of the momentum changes slowly. It is
    therefore repeated only every few steps. With several processes, each orthogonalizes a share of the gates.

    State of each matrix: ``momentum``, the exponential moving average of its gradients; ``direction``, the
    orthogonalized momentum; ``step``, the number of updates so far, a CPU tensor.

    Args:
        matrices: Matrices of G gates, each (G*H, H).
        hidden_size: H.
        rest: Optimizer of all other parameters. Its parameter groups and its state become part of this optimizer.
        momentum: Decay rate of the momentum, in [0, 1).
        weight_decay: Decoupled weight decay: an update multiplies matrices by ``1 - learning rate * weight_decay``.
        every: Number of steps between orthogonalizations, at least 1.
        precision: Data type of the matrix products in the orthogonalization.
        process_group: Processes of the training; all of them must call ``step``.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        hidden_size: int,
        rest: torch.optim.Optimizer,
        momentum: float,
        weight_decay: float,
        every: int,
        precision: torch.dtype = torch.float32,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        muon_group = {"params": list(matrices), "momentum": momentum, "weight_decay": weight_decay, "orthogonal": True}
        super().__init__([muon_group, *rest.param_groups], {"lr": 0.0})
        self._rest = rest
        rest.state = self.state
        self._hidden_size = hidden_size
        self._every = every
        self._precision = precision
        self._process_group = process_group

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        # 1. all other parameters
        self._rest.step()
        # 2. momentum
        group = self.param_groups[0]
        updated = [matrix for matrix in group["params"] if matrix.grad is not None]
        for matrix in updated:
            state: dict[str, Any] = self.state[matrix]
            if not state:
                state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(matrix)}
            state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
        # 3. every few steps, the direction
        self._orthogonalize([matrix for matrix in updated if int(self.state[matrix]["step"]) % self._every == 0])
        # 4. weight decay and update
        for matrix in updated:
            self.state[matrix]["step"] += 1
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(self.state[matrix]["direction"], alpha=-group["lr"])

    def _orthogonalize(self, matrices: Sequence[Tensor]) -> None:
        """Recompute the directions of matrices; each process orthogonalizes its share of the gates."""
        if not matrices:
            return
        size = self._hidden_size
        gates = torch.cat([self.state[matrix]["momentum"].view(-1, size, size) for matrix in matrices])
        own = [orthogonal(gate, self._precision) for gate in gates[self._process_group.rows(len(gates))]]
        directions = self._process_group.all_gather(torch.stack(own) if own else gates[:0], len(gates), 0)
        parts = torch.split(directions.view(-1, size), [len(matrix) for matrix in matrices])
        for matrix, direction in zip(matrices, parts, strict=True):
            self.state[matrix]["direction"] = direction


def orthogonal(matrix: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """Approximate the nearest orthogonal matrix, with the same singular vectors and all singular values near 1.

    Args:
        matrix: Any matrix, (M, K).
        precision: Data type of the matrix products; the result has the type of the matrix.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    x = (wide / (wide.norm() + _EPSILON)).to(precision)
    for a, b, c in _COEFFICIENTS:
        square = x @ x.t()
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    result: Tensor = x if wide is matrix else x.t()
    return result.to(matrix.dtype)
