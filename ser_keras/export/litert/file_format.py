"""LiteRT files as data: reading, joining end to end, and their metadata.

The converter has one precision for a whole graph. A file whose front end is
float32 and whose network is int8 is therefore converted in parts, which are
joined here: a LiteRT file is a table of tensors and a list of operations on
them, in the order they run.
"""

import json

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ser_keras.features.extractors.litert_graph import pack

METADATA = b"ser_keras"
_IDENTIFIER = b"TFL3"


def is_litert(content):
    """Whether bytes are a LiteRT file's, by its identifier.

    >>> is_litert(b"RIFF....WAVE")
    False
    """
    return bytes(content[4:8]) == _IDENTIFIER


def read_metadata(content):
    """What `chain` wrote beside the graph.

    Args:
        content: Bytes of a LiteRT file that the interpreter has accepted.

    Returns:
        Dict, or None if the file holds none of ours.
    """
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == METADATA:
            data = model.Buffers(entry.Buffer()).DataAsNumpy()
            return json.loads(data.tobytes())
    return None


def chain(parts, input_name, output_name, metadata):
    """Joins models end to end: one's outputs are the next one's inputs.

    Args:
        parts: List of bytes of LiteRT files. All but the last have as many
            outputs as the next one has inputs, in the same order. At most one
            may have loops or branches (further subgraphs).
        input_name: Name of the first part's only input in the signature.
        output_name: Name of the last part's only output in the signature.
        metadata: Dict of JSON types, kept in the file.

    Returns:
        Bytes of a LiteRT file.

    Raises:
        ValueError: Two parts do not fit.
    """
    joined = schema.ModelT()
    joined.version = 3
    joined.description = b"ser_keras"
    joined.operatorCodes, joined.subgraphs = [], []
    joined.metadata = []
    constants = {b"": 0}  # Number 0 is that of tensors that are computed.
    graph = schema.SubGraphT()
    graph.name = b"main"
    graph.tensors, graph.operators = [], []
    joined.subgraphs.append(graph)
    ends = None
    versions = []
    for content in parts:
        part = schema.ModelT.InitFromPackedBuf(content, 0)
        versions += _runtime_versions(part)
        _renumber(part, len(joined.operatorCodes), constants)
        joined.operatorCodes += part.operatorCodes
        if part.subgraphs[1:] and joined.subgraphs[1:]:
            # Their numbers are written inside the loops.
            raise ValueError("only one of `parts` may have loops or branches")
        joined.subgraphs += part.subgraphs[1:]
        starts, ends = _append(graph, part.subgraphs[0], ends)
        if graph.inputs is None:
            graph.inputs = starts
    graph.outputs = ends
    joined.buffers = [_buffer(data) for data in constants]
    _add_metadata(joined, METADATA, json.dumps(metadata).encode())
    if versions:
        oldest = max(versions, key=lambda v: [int(n) for n in v.split(".")])
        _add_metadata(joined, b"min_runtime_version", oldest.encode())
    joined.signatureDefs = [
        _signature(
            {input_name: graph.inputs[0]}, {output_name: graph.outputs[0]}
        )
    ]
    for number, tensor in enumerate(graph.tensors):
        # The converter's names repeat every layer's path: kilobytes.
        tensor.name = str(number).encode()
    graph.tensors[graph.inputs[0]].name = input_name.encode()
    graph.tensors[graph.outputs[0]].name = output_name.encode()
    return pack(joined)


def _renumber(part, codes, constants):
    """Makes a part's numbers those of the whole.

    Args:
        part: `ModelT`, changed.
        codes: Operator codes of the parts before.
        constants: Dict from the bytes of each constant to its number; the
            part's are added. Equal ones are kept once.
    """
    for graph in part.subgraphs:
        for tensor in graph.tensors:
            data = part.buffers[tensor.buffer].data
            data = b"" if data is None else data.tobytes()
            tensor.buffer = constants.setdefault(data, len(constants))
            if tensor.quantization and tensor.quantization.scale is None:
                tensor.quantization = None
        for operator in graph.operators:
            operator.opcodeIndex += codes


def _append(graph, part, ends):
    """Adds a subgraph's tensors and operations; returns its inputs, outputs.

    `ends` are the tensors of `graph` that stand for the part's inputs, or None
    for the first part.
    """
    number = {-1: -1}  # An optional input that is left out.
    if ends is not None:
        if len(ends) != len(part.inputs):
            raise ValueError(
                f"a part with {len(part.inputs)} inputs follows one with "
                f"{len(ends)} outputs"
            )
        for ours, theirs in zip(ends, part.inputs, strict=True):
            before, after = (
                (tensor.type, [int(size) for size in tensor.shape])
                for tensor in (graph.tensors[ours], part.tensors[theirs])
            )
            if before != after:
                raise ValueError(
                    f"a part that takes {after[1]} (type {after[0]}) follows "
                    f"one that gives {before[1]} (type {before[0]})"
                )
            number[int(theirs)] = ours
    for index, tensor in enumerate(part.tensors):
        if index not in number:
            number[index] = len(graph.tensors)
            graph.tensors.append(tensor)
    for operator in part.operators:
        for field in ("inputs", "outputs", "intermediates"):
            tensors = getattr(operator, field)
            if tensors is not None:
                setattr(operator, field, [number[int(t)] for t in tensors])
        graph.operators.append(operator)
    return (
        [number[int(t)] for t in part.inputs],
        [number[int(t)] for t in part.outputs],
    )


def _runtime_versions(model):
    """The oldest runtime that can run a converted model, as its file says."""
    return [
        bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()
        for entry in model.metadata or []
        if entry.name == b"min_runtime_version"
    ]


def _add_metadata(model, name, data):
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(model.buffers)
    model.buffers.append(_buffer(data))
    model.metadata.append(entry)


def _buffer(data):
    buffer = schema.BufferT()
    if data:
        buffer.data = np.frombuffer(data, np.uint8)
    return buffer


def _signature(inputs, outputs):
    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.subgraphIndex = 0
    signature.inputs = _tensor_maps(inputs)
    signature.outputs = _tensor_maps(outputs)
    return signature


def _tensor_maps(names):
    maps = []
    for name, index in names.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        maps.append(entry)
    return maps
