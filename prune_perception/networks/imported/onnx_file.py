# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Read ONNX files that nobody vouches for.

What a file declares is checked before anything of that size is made: a tensor must bring the
bytes of its shape, and a weight that lies in another file must lie in the folder of the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

from prune_perception.bundle import BundleError
from prune_perception.networks.beside import file_beside, opened
from prune_perception.networks.imported.graph import Array, as_float32, Graph, Node

OWN_DOMAIN = 'prune_perception'
_LARGEST_FILE = 2 << 30  # bytes, the limit of the format
_MOST_NODES = 50_000
_MOST_EXTERNAL = 1 << 30  # bytes of all weights in other files; many may name the same
_IR_VERSION = 10
_KINDS = (
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE,
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8,
    TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64, TensorProto.BOOL)
_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_DOMAINS = ('', 'ai.onnx', OWN_DOMAIN)


@dataclass(frozen=True)
class Declared:
    """
    An input or output of a file as it is declared.

    :param sizes: a number, a name for one that is left open, or None.
    :param kind: NumPy's name of its numbers.
    """

    name: str
    sizes: tuple[int | str | None, ...]
    kind: str


@dataclass(frozen=True)
class OnnxFile:
    """
    What a file holds.

    :param graph: its ``image_shape`` is empty where the file leaves sizes open.
    :param metadata: what its maker wrote beside the graph.
    :param model: as it stands in the file, with the weights of other files put in as they were
        read; None if it is not ONNX.
    :param digest: SHA-256 of the file's bytes.
    """

    path: Path
    graph: Graph
    inputs: tuple[Declared, ...]
    outputs: tuple[Declared, ...]
    metadata: Mapping[str, str]
    model: onnx.ModelProto | None = None
    digest: str = ''


def read_onnx(path: Path) -> OnnxFile:
    """
    Read and check an ONNX file; nothing of it is run.

    :raises BundleError: it cannot be read, or declares what cannot be; one line.
    """
    try:
        with opened(path) as (file, size):
            if size > _LARGEST_FILE:
                raise BundleError(f'{path}: larger than 2 GiB, which no ONNX file is')
            data = file.read(size)
    except OSError as error:
        raise BundleError(f'{path}: {(error.strerror or str(error)).lower()}') from error
    return parse_onnx(data, path)


def parse_onnx(data: bytes, path: Path) -> OnnxFile:
    """
    Return what the bytes of an ONNX file hold (see :func:`read_onnx`).

    :param path: where they come from: weights that lie beside the file are looked for there.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's own kinds have no place in onnx
        raise BundleError(f'{path}: not an ONNX file: {error}') from error
    if not model.HasField('graph') or not model.opset_import:
        raise BundleError(f'{path}: not an ONNX file: it has no graph, or names no operator set')
    if model.functions:
        raise BundleError(
            f'{path}: has functions of its own ({model.functions[0].name}, …); export it again '
            'with them inlined')
    return replace(_read(model, path), model=model, digest=hashlib.sha256(data).hexdigest())


def write_onnx(graph: Graph) -> bytes:
    """
    Return a graph as an ONNX model; weights are inputs. The same bytes for the same graph.

    Operators of this package are in a domain of its own.
    """
    from prune_perception.networks.imported.operators import OWN
    nodes = [helper.make_node(
        node.op, node.inputs, node.outputs, node.name,
        domain=OWN_DOMAIN if node.op in OWN else '', **node.attributes)
        for node in graph.nodes]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in
              [(graph.image, graph.image_shape), *graph.weights.items()]]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
               for name in graph.outputs]
    model = helper.make_model(
        helper.make_graph(nodes, 'structure', inputs, outputs, [
            numpy_helper.from_array(np.array(value, order='C'), name)
            for name, value in graph.constants.items()]),
        opset_imports=[helper.make_opsetid('', graph.opset), helper.make_opsetid(OWN_DOMAIN, 1)],
        ir_version=_IR_VERSION)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _read(model: onnx.ModelProto, path: Path) -> OnnxFile:
    proto = model.graph
    opset = max((item.version for item in model.opset_import if item.domain in ('', 'ai.onnx')),
                default=0)
    if not 7 <= opset <= 100:
        raise BundleError(f"{path}: uses version {opset} of ONNX's operators; 7 and newer are "
                          'read')
    if len(proto.node) > _MOST_NODES:
        raise BundleError(f'{path}: has {len(proto.node)} nodes; at most {_MOST_NODES} are read')
    if proto.sparse_initializer:
        raise BundleError(f'{path}: has sparse weights, which are not read')
    _check_external(proto, path)
    constants: dict[str, Array] = {}
    for tensor in proto.initializer:
        if tensor.name in constants:
            raise BundleError(f'{path}: has two weights called {tensor.name!r}')
        constants[tensor.name] = _array(tensor, path)
    inputs = tuple(_declared(item, path) for item in proto.input if item.name not in constants)
    outputs = tuple(_declared(item, path) for item in proto.output)
    if not outputs:
        raise BundleError(f'{path}: has no outputs')
    nodes: list[Node] = []
    known = {*constants, *(item.name for item in inputs), ''}
    for number, item in enumerate(proto.node):
        node = _node(item, number, path)
        for name in node.inputs:
            if name not in known:
                raise BundleError(
                    f'{path}: node {node.name!r} takes {name!r}, which nothing before it makes')
        if not any(node.outputs):
            raise BundleError(f'{path}: node {node.name!r} makes nothing')
        for name in filter(None, node.outputs):
            if name in known:
                raise BundleError(f'{path}: node {node.name!r} makes {name!r}, which is there '
                                  'already')
            known.add(name)
        if node.op == 'Constant':
            constants[node.outputs[0]] = _constant(node, path)
        else:
            nodes.append(node)
    for output in outputs:
        if output.name not in known:
            raise BundleError(f'{path}: output {output.name!r} is made by nothing')
    graph = Graph(inputs[0].name if inputs else '', (), [item.name for item in outputs], nodes,
                  constants, opset=opset)
    return OnnxFile(path, graph, inputs, outputs,
                    {item.key: item.value for item in model.metadata_props})


def _declared(item: onnx.ValueInfoProto, path: Path) -> Declared:
    if not item.type.HasField('tensor_type'):
        raise BundleError(f'{path}: {item.name!r} is no tensor')
    kind = item.type.tensor_type
    sizes: list[int | str | None] = []
    for size in kind.shape.dim:
        if size.HasField('dim_value'):
            if size.dim_value < 0:
                raise BundleError(f'{path}: {item.name!r} has a side of {size.dim_value}')
            sizes.append(size.dim_value)
        else:
            sizes.append(size.dim_param or None)
    return Declared(item.name, tuple(sizes), _dtype(kind.elem_type, item.name, path).name)


def _dtype(kind: int, name: str, path: Path) -> np.dtype[Any]:
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    except (KeyError, ValueError, TypeError) as error:
        raise BundleError(f'{path}: {name!r} has numbers of an unknown kind, {kind}') from error


def _array(tensor: TensorProto, path: Path) -> Array:
    """
    Return a tensor, whose bytes are there before an array is made of them.

    One whose numbers lie in another file has them in itself then.
    """
    name, sizes = tensor.name, list(tensor.dims)
    if any(size < 0 for size in sizes):
        raise BundleError(f'{path}: tensor {name!r} has a negative side: {sizes}')
    dtype = _dtype(tensor.data_type, name, path)
    if tensor.data_type == TensorProto.STRING:
        raise BundleError(f'{path}: tensor {name!r} holds texts, not numbers')
    if tensor.data_type not in _KINDS:
        kind = TensorProto.DataType.Name(tensor.data_type).lower()
        raise BundleError(f'{path}: tensor {name!r} holds numbers of {kind}, which are not read; '
                          'of a quantised network, export the float one')
    count = math.prod(sizes)
    if tensor.data_location == TensorProto.EXTERNAL:
        data = _external(tensor, count * dtype.itemsize, path)
        # In place: nobody opens that file again.
        tensor.CopyFrom(TensorProto(
            name=name, dims=sizes, data_type=tensor.data_type, raw_data=data))
    elif tensor.HasField('raw_data'):
        if len(tensor.raw_data) < count * dtype.itemsize:
            raise BundleError(
                f'{path}: tensor {name!r} is declared as {sizes}, and has '
                f'{len(tensor.raw_data)} bytes for it')
    else:
        given = max(len(tensor.float_data), len(tensor.int32_data), len(tensor.int64_data),
                    len(tensor.double_data), len(tensor.uint64_data))
        if given < count:
            raise BundleError(
                f'{path}: tensor {name!r} is declared as {sizes}, and has {given} numbers for it')
    try:
        return as_float32(np.array(numpy_helper.to_array(tensor)))
    except Exception as error:  # its kinds differ from type to type
        raise BundleError(f'{path}: tensor {name!r} cannot be read: {error}') from error


def _check_external(proto: onnx.GraphProto, path: Path) -> None:
    """Refuse weights in other files that would fill the memory together."""
    tensors = [*proto.initializer, *(
        attribute.t for node in proto.node for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR)]
    size = sum(math.prod(tensor.dims) * _dtype(tensor.data_type, tensor.name, path).itemsize
               for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL
               and min(tensor.dims, default=0) >= 0)
    if size > _MOST_EXTERNAL:
        raise BundleError(f'{path}: its weights in other files are {size:.3g} bytes together; at '
                          f'most {_MOST_EXTERNAL:.3g} are read')


def _external(tensor: TensorProto, size: int, path: Path) -> bytes:
    """Return the bytes of a weight that lies in another file of the model's folder."""
    where = {item.key: item.value for item in tensor.external_data}
    location = where.get('location', '')
    try:
        file = file_beside(path, location)
    except ValueError as error:
        raise BundleError(f'{path}: weight {tensor.name!r} lies in {error}') from error
    try:
        offset, length = int(where.get('offset') or 0), int(where.get('length') or size)
        if offset < 0 or length != size:
            raise BundleError(
                f'{path}: weight {tensor.name!r} is declared as {list(tensor.dims)}, which is '
                f'{size} bytes, and has {length} from byte {offset} of {location}')
        with opened(file) as (content, there):
            if there < offset + length:
                raise BundleError(
                    f'{file}: shorter than {offset + length} bytes, which {path.name} wants for '
                    f'{tensor.name!r}')
            content.seek(offset)
            return content.read(length)
    except ValueError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f'{path}: weight {tensor.name!r}: {error}') from error
    except OSError as error:
        raise BundleError(
            f'{file}: {(error.strerror or str(error)).lower()}, though {path.name} names it for '
            f'{tensor.name!r}') from error


def _node(item: onnx.NodeProto, number: int, path: Path) -> Node:
    name = item.name or f'{item.op_type}_{number}'
    attributes: dict[str, Any] = {}
    for attribute in item.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            attributes[attribute.name] = None  # its operator is none that is known
        elif attribute.type == onnx.AttributeProto.TENSOR:
            attributes[attribute.name] = _array(attribute.t, path)
        else:
            try:
                value = helper.get_attribute_value(attribute)
            except ValueError as error:
                raise BundleError(f'{path}: node {name!r}: {error}') from error
            attributes[attribute.name] = _plain(value)
    if item.op_type == 'Cast' and attributes.get('to') in _FLOATS:
        attributes['to'] = TensorProto.FLOAT  # as all floating point numbers are here
    known = item.domain in _DOMAINS
    return Node(item.op_type if known else f'{item.domain}.{item.op_type}', name,
                list(item.input), list(item.output), attributes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode('utf-8', 'replace')
    if isinstance(value, (str, int, float)):
        return value
    try:
        return [_plain(item) for item in value]
    except TypeError:
        return None  # a sparse tensor, a type: of no operator that is known


def _constant(node: Node, path: Path) -> Array:
    for name, kind in (('value', None), ('value_float', np.float32), ('value_int', np.int64),
                       ('value_floats', np.float32), ('value_ints', np.int64)):
        value = node.attributes.get(name)
        if value is not None:
            return value if kind is None else np.array(value, kind)
    raise BundleError(f'{path}: node {node.name!r} is a constant without numbers')
