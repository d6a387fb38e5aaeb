"""The functions that define int8 generation bit by bit. Reference of the native engine.

Only additions, multiplications, divisions and roundings of float32 in a fixed order, and sums of whole numbers,
whose order does not matter: so every processor gives the same bits. ``docs/reference/engine.md`` has the definition in
words; ``native/common/maths.h`` says the same in C++.
"""

import numpy as np
from numpy.typing import NDArray

from charloom.model.quantization import Quantized

Floats = NDArray[np.float32]

_COEFFICIENTS = tuple(
    np.float32(c)
    for c in (1.54035304e-4, 1.33335581e-3, 9.61812911e-3, 5.55041087e-2, 2.40226507e-1, 6.93147181e-1, 1.0)
)
"""ln(2)^k / k! from k = 6 down to 0."""

_ONE, _TWO = np.float32(1), np.float32(2)
_EXACT_COLUMNS = 1024  # products of this many columns of int8 are below 2^24, so float32 sums them exactly


def power_of_two(x: Floats) -> Floats:
    """Return 2**x for x in [-126, 126], within a relative error of 3e-7 and exactly where x is whole."""
    whole = np.rint(x)
    rest = x - whole
    p: Floats = np.full_like(x, _COEFFICIENTS[0])
    for c in _COEFFICIENTS[1:]:
        p = p * rest + c
    exponent: Floats = ((whole.astype(np.int32) + 127) << 23).view(np.float32)
    return p * exponent


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x))."""
    bounded = np.clip(x, np.float32(-80), np.float32(80))
    return _ONE / (_ONE + power_of_two(bounded * np.float32(-1.44269504)))


def tanh(x: Floats) -> Floats:
    """Return the hyperbolic tangent of x, within an absolute error of 1.5e-7."""
    bounded = np.clip(x, np.float32(-40), np.float32(40))
    return _ONE - _TWO / (power_of_two(bounded * np.float32(2.88539008)) + _ONE)


def quantize_rows(x: Floats) -> tuple[Floats, Floats]:
    """Return vectors as whole numbers in [-127, 127] and the scale of each.

    Args:
        x: (..., K).

    Returns:
        The whole numbers as float32 (..., K), and the scales (..., 1).
    """
    highest = np.abs(x).max(axis=-1, keepdims=True)
    tiny = highest <= np.float32(1e-30)
    factor = np.where(tiny, np.float32(0), np.float32(127) / np.where(tiny, _ONE, highest))
    return np.rint(x * factor), highest / np.float32(127)


class Int8Product:
    """Multiplies vectors by an int8 matrix, exactly as the native engine does.

    Args:
        matrix: (R, K).
    """

    def __init__(self, matrix: Quantized) -> None:
        self._scales = matrix.scales
        self._values = matrix.values.T.astype(np.float32)  # (K, R): whole numbers, for BLAS

    def __call__(self, x: Floats) -> Floats:
        """Return (..., R) for float32 vectors (..., K), quantised each on its own."""
        whole, scale = quantize_rows(x)
        return self.sums(whole) * (self._scales * scale)

    def sums(self, whole: Floats) -> Floats:
        """Return the exact sums of products of whole numbers (..., K), rounded to float32 once."""
        if len(self._values) <= _EXACT_COLUMNS:
            product: Floats = np.matmul(whole, self._values)
            return product
        total = sum(
            np.matmul(whole[..., k : k + _EXACT_COLUMNS], self._values[k : k + _EXACT_COLUMNS]).astype(np.float64)
            for k in range(0, len(self._values), _EXACT_COLUMNS)
        )
        return np.asarray(total, np.float64).astype(np.float32)
