"""Quantize weights to int8 with one scale per row, and back.

A scale has only 16 significant bits, so that scale x whole number is exact in float32: quantising what was
quantised changes nothing, and a model stored as int8 writes the same text as the float32 model it came from.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_INT8 = 127
_SCALE_BITS = 16


@dataclass(frozen=True)
class Quantized:
    """A matrix of R rows: weight = value x scale of its row.

    Attributes:
        values: int8 (R, K), each in [-127, 127].
        scales: float32 (R,); 0 for a row of zeros.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def quantize(weights: NDArray[np.float32]) -> Quantized:
    """Return the nearest whole numbers; the largest weight of each row becomes 127 or -127.

    Args:
        weights: (R, K), finite.
    """
    scales = _few_bits(np.abs(weights).max(axis=1).astype(np.float64) / MAX_INT8)
    # float64 holds the quotient of two float32 exactly enough that rounding it is rounding the true one
    quotients = weights / np.where(scales > 0, scales, 1.0)[:, None]
    return Quantized(np.rint(quotients).astype(np.int8), scales.astype(np.float32))


def dequantize(quantized: Quantized) -> NDArray[np.float32]:
    """Return the weights (R, K) that the whole numbers stand for, exactly."""
    return quantized.values * quantized.scales[:, None]


def _few_bits(scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round up to 16 significant bits; what is too small for that in float32 becomes 0."""
    mantissas, exponents = np.frexp(scales)
    rounded = np.ldexp(np.ceil(np.ldexp(mantissas, _SCALE_BITS)), exponents - _SCALE_BITS)
    return np.where(rounded < 2.0**-100, 0.0, rounded)
