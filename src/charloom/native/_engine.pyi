"""Types of the compiled module, whose source is in native/bindings/."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

def isas() -> list[str]: ...
def random_word(seed: int, position: int) -> int: ...

class Engine:
    isa: str
    def __init__(
        self,
        cell: str,
        int8: bool,
        table: NDArray[np.float32],
        layers: list[dict[str, Any]],
        output: Any,
        output_bias: NDArray[np.float32],
        isa: str = "",
    ) -> None: ...
    def read(
        self,
        ids: NDArray[np.int32],
        state: NDArray[np.float32],
        logits: NDArray[np.float32] | None,
        gates: NDArray[np.float32] | None,
        states: NDArray[np.float32] | None,
        threads: int = 1,
    ) -> None: ...
    def write(
        self,
        ids: NDArray[np.int32],
        state: NDArray[np.float32],
        logits: NDArray[np.float32],
        seeds: NDArray[np.uint64],
        positions: NDArray[np.uint64],
        recent: NDArray[np.int32],
        counts: NDArray[np.int32] | None,
        samplings: list[tuple[float, int, float, float, float, int, float, float]],
        bias: NDArray[np.float32] | None,
        log_probabilities: NDArray[np.float64] | None,
        threads: int = 1,
    ) -> None: ...

class Recurrence:
    def __init__(self, cell: str, hidden: int, isa: str) -> None: ...
    def pack(self, weight_hh: NDArray[np.float32], threads: int) -> None: ...
    def forward(
        self,
        input: NDArray[np.float32],
        index: NDArray[np.int64] | None,
        bias: NDArray[np.float32] | None,
        hidden: NDArray[np.float32],
        cell: NDArray[np.float32] | None,
        hidden_seq: NDArray[np.float32],
        cell_seq: NDArray[np.float32] | None,
        saved_gates: NDArray[np.float32] | None,
        mask: NDArray[np.float32] | None,
        out: NDArray[np.float32] | None,
        threads: int,
    ) -> None: ...
    def backward(
        self,
        gradient: NDArray[np.float32],
        mask: NDArray[np.float32] | None,
        hidden_seq: NDArray[np.float32],
        cell_seq: NDArray[np.float32] | None,
        saved_gates: NDArray[np.float32],
        last: NDArray[np.float32] | None,
        grad_state: NDArray[np.float32],
        threads: int,
    ) -> None: ...

class RecurrenceBfloat16(Recurrence): ...  # its arrays are bfloat16 stored as int16, instead of float32

def multiplies_bfloat16() -> bool: ...
def share_threads(library: str) -> bool: ...
def cross_entropy(
    logits: NDArray[np.float32],
    bias: NDArray[np.float32],
    targets: NDArray[np.int64],
    scale: float,
    grad_bias: NDArray[np.float32],
    isa: str,
    threads: int,
) -> float: ...
def add_rows(
    rows: NDArray[np.float32], ids: NDArray[np.int64], table: NDArray[np.float32], isa: str, threads: int
) -> None: ...

class SuffixAutomaton:
    def __init__(self, symbols: NDArray[np.uint32]) -> None: ...
    def read(self, symbols: NDArray[np.uint32]) -> None: ...
    def restart(self) -> None: ...
    def lengths(self) -> NDArray[np.int32]: ...
