import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from charloom.inference.engines.int8_reference import Int8Product, power_of_two, quantize_rows, sigmoid, tanh
from charloom.model.quantization import dequantize, quantize

matrices = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.floats(-50, 50, width=32)
)


@given(matrices)
def test_quantization_error_is_at_most_half_a_step_and_the_peak_is_127(weights):
    quantized = quantize(weights)
    back = dequantize(quantized)
    smallest = 127 * 2.0**-100  # rows whose weights are all smaller become zeros
    for row, restored, scale, source in zip(quantized.values, back, quantized.scales, weights, strict=True):
        peak = np.abs(source).max()
        assert np.abs(row).max() == 127 or (peak <= smallest and np.abs(row).max() == 0)
        assert (np.abs(restored - source) <= (0.5 * scale * (1 + 1e-6) if scale else peak)).all()


@given(matrices)
def test_quantization_is_idempotent(weights):
    once = quantize(weights)
    exact = dequantize(once)
    assert (exact.astype(np.float64) == once.values.astype(np.float64) * once.scales[:, None].astype(np.float64)).all()
    twice = quantize(exact)
    np.testing.assert_array_equal(once.values, twice.values)
    np.testing.assert_array_equal(once.scales, twice.scales)


def test_int8_products_are_exact_integer_products():
    rng = np.random.default_rng(0)
    for columns in (7, 1024, 3000):
        matrix = quantize(rng.normal(0, 1, (4, columns)).astype(np.float32))
        integers = rng.integers(-127, 128, (3, columns)).astype(np.float32)
        exact = integers.astype(np.int64) @ matrix.values.T.astype(np.int64)
        np.testing.assert_array_equal(Int8Product(matrix).sums(integers), exact.astype(np.float32))


def test_quantize_rows_scales_by_the_largest_magnitude():
    integers, scale = quantize_rows(np.array([[0.5, -0.25, 0.0], [0.0, 0.0, 0.0]], np.float32))
    assert integers.tolist() == [[127.0, -64.0, 0.0], [0.0, 0.0, 0.0]]  # 63.5 is rounded to even
    assert scale.ravel().tolist() == [np.float32(0.5) / np.float32(127), 0.0]


def test_approximations_of_exp2_sigmoid_and_tanh_are_accurate():
    x = np.linspace(-126, 126, 1_000_001).astype(np.float32)
    np.testing.assert_allclose(power_of_two(x), np.exp2(x.astype(np.float64)), rtol=3e-7)
    integers = np.arange(-126, 127).astype(np.float32)
    np.testing.assert_array_equal(power_of_two(integers), np.exp2(integers))
    y = np.linspace(-100, 100, 1_000_001).astype(np.float32)
    np.testing.assert_allclose(sigmoid(y), 1 / (1 + np.exp(-y.astype(np.float64))), atol=1.5e-7)
    np.testing.assert_allclose(tanh(y), np.tanh(y.astype(np.float64)), atol=2e-7)
