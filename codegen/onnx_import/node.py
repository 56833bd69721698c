"""One node of an ONNX graph with typed access to its attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from onnx import AttributeProto, NodeProto, TensorProto

from codegen.errors import ThumbnetError
from codegen.onnx_import.load import first_line


@dataclass(frozen=True)
class OnnxNode:
    """A node, where it stands, and how to complain about it.

    Attributes:
        proto: The node itself.
        index: Its position in the file, for nodes without a name.
        path: The file.
    """

    Error: ClassVar[type[ThumbnetError]] = ThumbnetError

    proto: NodeProto
    index: int
    path: Path

    @property
    def op_type(self) -> str:
        """Name of the operator."""
        return str(self.proto.op_type)

    @property
    def name(self) -> str:
        """The name in the file, or the operator and its position."""
        return self.proto.name or f"{self.op_type}_{self.index}"

    @property
    def label(self) -> str:
        """The node in a message."""
        if self.proto.name:
            return f"{self.op_type} {self.proto.name!r}"
        return f"{self.op_type} (node {self.index}, without a name)"

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs; an empty name is an input left out."""
        return tuple(self.proto.input)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(self.proto.output)

    def given(self, index: int) -> bool:
        """True if input ``index`` is not left out."""
        return index < len(self.inputs) and self.inputs[index] != ""

    @cached_property
    def _attributes(self) -> dict[str, AttributeProto]:
        return {attribute.name: attribute for attribute in self.proto.attribute}

    def has(self, attribute: str) -> bool:
        """True if the file sets ``attribute``."""
        return attribute in self._attributes

    def _typed(self, name: str, kind: int) -> AttributeProto:
        attribute = self._attributes[name]
        if attribute.type not in (kind, AttributeProto.UNDEFINED):
            raise self.error(f"has the attribute {name!r} of a wrong type")
        return attribute

    def integer(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        return self._typed(name, AttributeProto.INT).i if self.has(name) else default

    def number(self, name: str, default: float) -> float:
        """An attribute that is a real number."""
        return self._typed(name, AttributeProto.FLOAT).f if self.has(name) else default

    def integers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers."""
        if not self.has(name):
            return tuple(default)
        return tuple(self._typed(name, AttributeProto.INTS).ints)

    def text(self, name: str, default: str) -> str:
        """An attribute that is a word."""
        if not self.has(name):
            return default
        return self._typed(name, AttributeProto.STRING).s.decode("utf-8", "replace")

    def casts_to_float(self) -> bool:
        """True for a Cast that leaves real numbers real."""
        return self.integer("to", 0) == TensorProto.FLOAT

    def error(self, text: str) -> ThumbnetError:
        """The exception for something wrong with this node: ``text`` continues its name."""
        return ThumbnetError(f"{self.path}: {self.label} {text}.")

    def malformed(self, error: Exception) -> ThumbnetError:
        """The exception for a node that breaks the rules of ONNX."""
        return self.error(
            f"is malformed ({first_line(error)}): export the model again, or check it with "
            "onnx.checker"
        )
