"""The functions that define int8 generation bit by bit. This module is the reference of the native engine.

They use only additions, multiplications, divisions and roundings of float32 in a fixed order, and sums of integers,
which do not depend on the order. Every processor therefore computes the same bits. ``docs/reference/engine.md``
describes the definition; ``native/common/maths.h`` is the C++ implementation.
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
_EXACT_COLUMNS = 1024  # 1024 * 127 * 127 < 2^24, so float32 sums this many int8 products exactly


def power_of_two(x: Floats) -> Floats:
    """Compute 2**x for x in [-126, 126] with a relative error of at most 3e-7; exact for integers."""
    integer = np.rint(x)
    fraction = x - integer
    p: Floats = np.full_like(x, _COEFFICIENTS[0])
    for c in _COEFFICIENTS[1:]:
        p = p * fraction + c
    exponent: Floats = ((integer.astype(np.int32) + 127) << 23).view(np.float32)
    return p * exponent


def sigmoid(x: Floats) -> Floats:
    """Compute the logistic function 1 / (1 + exp(-x))."""
    bounded = np.clip(x, np.float32(-80), np.float32(80))
    return _ONE / (_ONE + power_of_two(bounded * np.float32(-1.44269504)))


def tanh(x: Floats) -> Floats:
    """Compute the hyperbolic tangent with an absolute error of at most 1.5e-7."""
    bounded = np.clip(x, np.float32(-40), np.float32(40))
    return _ONE - _TWO / (power_of_two(bounded * np.float32(2.88539008)) + _ONE)


def quantize_rows(x: Floats) -> tuple[Floats, Floats]:
    """Quantize vectors to integers in [-127, 127] with one scale per vector.

    Args:
        x: Vectors, (..., K).

    Returns:
        The integers as float32, (..., K), and the scales, (..., 1).
    """
    largest = np.abs(x).max(axis=-1, keepdims=True)
    is_tiny = largest <= np.float32(1e-30)
    factor = np.where(is_tiny, np.float32(0), np.float32(127) / np.where(is_tiny, _ONE, largest))
    return np.rint(x * factor), largest / np.float32(127)


class Int8Product:
    """Multiplies vectors by an int8 matrix, bit-identical to the native engine.

    Args:
        matrix: The quantized matrix, (R, K).
    """

    def __init__(self, matrix: Quantized) -> None:
        self._scales = matrix.scales
        self._values = matrix.values.T.astype(np.float32)  # (K, R): integers as float32, for BLAS

    def __call__(self, x: Floats) -> Floats:
        """Quantize each float32 vector (..., K) and multiply it by the matrix; returns (..., R)."""
        integers, scale = quantize_rows(x)
        return self.sums(integers) * (self._scales * scale)

    def sums(self, integers: Floats) -> Floats:
        """Multiply vectors of integers (..., K) by the integer matrix: exact sums (..., R), rounded to float32 once."""
        if len(self._values) <= _EXACT_COLUMNS:
            product: Floats = np.matmul(integers, self._values)
            return product
        total = sum(
            np.matmul(integers[..., k : k + _EXACT_COLUMNS], self._values[k : k + _EXACT_COLUMNS]).astype(np.float64)
            for k in range(0, len(self._values), _EXACT_COLUMNS)
        )
        return np.asarray(total, np.float64).astype(np.float32)
