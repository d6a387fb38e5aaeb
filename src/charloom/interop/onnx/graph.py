"""Build an ONNX graph node by node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.model.architecture import Architecture

OPSET, IR_VERSION = 14, 7
"""Versions of ONNX 1.9 (2021), which all later runtimes support. GRU and LSTM changed in opset 14 and again in 22."""

Size = int | str


class Graph:
    """A graph with the inputs ``ids`` and ``state`` and the outputs ``logits`` and ``next_state``.

    Args:
        name: Name of the graph.
        ids: Shape of ``ids``; strings name dynamic sizes.
        architecture: The model's architecture, which determines the shape of the state.
        logits: Shape of ``logits``.
    """

    def __init__(self, name: str, ids: Sequence[Size], architecture: Architecture, logits: Sequence[Size]) -> None:
        from onnx import TensorProto, helper  # type: ignore[import-untyped, unused-ignore]

        self._helper = helper
        a = architecture
        state = (a.num_layers, a.state_parts, "B", a.hidden_size)
        value = helper.make_tensor_value_info
        self._name = name
        self._inputs = [value("ids", TensorProto.INT64, ids), value("state", TensorProto.FLOAT, state)]
        self._outputs = [value("logits", TensorProto.FLOAT, logits), value("next_state", TensorProto.FLOAT, state)]
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add an operator with one output, and return the output's name."""
        return self.add_many(operator, inputs, 1, [output] if output else None, **attributes)[0]

    def add_many(
        self, operator: str, inputs: Sequence[str], count: int, outputs: list[str] | None = None, **attributes: Any
    ) -> list[str]:
        """Add an operator with several outputs, and return their names."""
        number = len(self._nodes)
        named = outputs or [f"{operator.lower()}_{number}" + (f"_{i}" if count > 1 else "") for i in range(count)]
        self._nodes.append(self._helper.make_node(operator, inputs, named, name=f"{operator}_{number}", **attributes))
        return named

    def constant(self, name: str, value: NDArray[np.float32] | None) -> str:
        """Add an array of weights, and return its name."""
        from onnx import numpy_helper

        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def constant_ints(self, *values: int) -> str:
        """Add a constant vector of integers, and return its name. Equal vectors share one constant."""
        from onnx import numpy_helper

        name = "ints_" + "_".join(map(str, values))
        self._constants[name] = numpy_helper.from_array(np.array(values, np.int64), name)
        return name

    def linear(
        self,
        value: str,
        name: str,
        matrix: Any,
        bias: NDArray[np.float32] | None = None,
        output: str | None = None,
    ) -> str:
        """Add ``value @ matrix.T + bias`` for value (B, K), matrix (N, K) and an optional bias (N,)."""
        inputs = [value, self.constant(name, matrix)] + (
            [self.constant(f"{name}.bias", bias)] if bias is not None else []
        )
        return self.add("Gemm", *inputs, output=output, transB=1)

    def split(self, value: str, count: int, axis: int = 0) -> list[str]:
        """Split a value into equal parts along an axis."""
        if count == 1:
            return [value]
        return self.add_many("Split", [value], count, axis=axis)

    def squeeze(self, value: str, axis: int | None = None) -> str:
        """Remove axes of size 1: the first two, (1, 1, B, H) → (B, H), or only the given axis."""
        return self.add("Squeeze", value, self.constant_ints(*((0, 1) if axis is None else (axis,))))

    def stack(self, parts: Sequence[str]) -> str:
        """Stack S parts (B, H) to (1, S, B, H)."""
        unsqueezed = [self.add("Unsqueeze", part, self.constant_ints(0, 1)) for part in parts]
        return unsqueezed[0] if len(unsqueezed) == 1 else self.add("Concat", *unsqueezed, axis=1)

    def concatenate(self, parts: Sequence[str]) -> str:
        """Concatenate S parts (1, B, H) to (S, B, H)."""
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0)

    def serialize(self, metadata: Mapping[str, str]) -> bytes:
        """Check the model with ONNX's checker and return it serialized."""
        import onnx

        graph = self._helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, list(self._constants.values())
        )
        opset = self._helper.make_opsetid("", OPSET)
        model = self._helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="charloom")
        self._helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString(deterministic=True)
        return data
