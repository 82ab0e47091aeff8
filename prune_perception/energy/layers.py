# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a network is made of, as the energy model sees it: written down by ``counting``."""

from dataclasses import dataclass

from prune_perception.energy.shapes import ConvolutionShape, Shape


@dataclass(frozen=True)
class Layer:
    """
    One operator of the network, with what is fused to it.

    :param name: unique; the module's path, and the operator's where that does not say it.
    :param module: path of the module that was running.
    :param operator: of torch.
    :param shapes: what it does, the operator's own first, then what is fused to it.
    :param fused: names of the operators that are fused to it.
    :param input_words: of the maps that it reads, for one image.
    :param output_words: of the map that it writes, for one image.
    """

    name: str
    module: str
    operator: str
    shapes: tuple[Shape, ...]
    fused: tuple[str, ...]
    input_words: int
    output_words: int

    @property
    def convolution(self) -> ConvolutionShape | None:
        """The shape of a layer with MACs, else None."""
        first = self.shapes[0]
        return first if isinstance(first, ConvolutionShape) else None

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(shape.macs for shape in self.shapes if isinstance(shape, ConvolutionShape))

    @property
    def weights(self) -> int:
        """Weights without biases; those of a normalisation that was not folded count too."""
        return sum(0 if isinstance(shape, ConvolutionShape) and shape.second_operand_is_map
                   else shape.weights for shape in self.shapes)


@dataclass(frozen=True)
class UnknownOperator:
    """An operator that the table does not know: its name, how often, and in which module first."""

    operator: str
    calls: int
    module: str


@dataclass(frozen=True)
class NetworkCount:
    """
    All that the energy model needs to know of a network.

    :param layers: in the order of execution.
    :param parameters: of the module, biases and normalisation and all.
    :param weights: of convolutions and linear layers, without biases; shared ones once.
    :param input_words: of the network's input.
    :param output_words: of the network's output.
    :param input_shape: of the first input.
    :param unknown: operators that are in no layer.
    """

    layers: tuple[Layer, ...]
    parameters: int
    weights: int
    input_words: int
    output_words: int
    input_shape: tuple[int, ...]
    unknown: tuple[UnknownOperator, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(layer.macs for layer in self.layers)
