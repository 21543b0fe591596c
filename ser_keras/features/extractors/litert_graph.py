"""Graphs of LiteRT files, to use an inner tensor as the output."""

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

_IDENTIFIER = b"TFL3"
_AUDIO_PROPERTIES = 4  # Among the kinds of ContentProperties.


def read_model(path):
    """Reads the graph of a LiteRT file.

    Args:
        path: `pathlib.Path`.

    Returns:
        `schema.ModelT`.

    Raises:
        ValueError: It is not a LiteRT file, or it is damaged.
    """
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise ValueError(
            f"{path} is not a LiteRT file: it has no identifier TFL3"
        )
    try:
        Interpreter(model_content=content)  # It verifies the file.
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} is damaged, or needs operations that this runtime lacks: "
            f"{error}"
        ) from error
    return schema.ModelT.InitFromPackedBuf(content, 0)


def cut_at(model, name):
    """Makes a tensor the only output, and removes operators it does not need.

    The interpreter does not keep inner tensors, and would compute the rest.

    Args:
        model: `schema.ModelT`, which is changed.
        name: Name of the tensor.

    Raises:
        ValueError: Nothing in the graph computes a tensor of that name.
    """
    graph = model.subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    computed = [int(i) for x in graph.operators for i in x.outputs]
    if name not in [names[i] for i in computed]:
        raise ValueError(
            "`output` must name a tensor that the file computes. Received: "
            f"output={name!r}; the last ones are "
            f"{[names[i] for i in computed[-8:]]}"
        )
    wanted = next(i for i in computed if names[i] == name)
    needed, kept = {wanted}, []
    for operator in reversed(graph.operators):
        if needed & {int(i) for i in operator.outputs}:
            needed |= {int(i) for i in operator.inputs}
            kept.append(operator)
    graph.operators, graph.outputs = kept[::-1], [wanted]
    model.signatureDefs = []  # They name the former outputs.


def audio_sample_rate(metadata):
    """Sample rate of the first input in the standard metadata of a file.

    Read by the numbers of the fields in LiteRT's metadata_schema.fbs, as no
    required package has the generated code.

    Args:
        metadata: Bytes of the buffer TFLITE_METADATA, or None.

    Returns:
        Hz, or None if the metadata do not have it.
    """
    if metadata is None:
        return None
    start = flatbuffers.encode.Get(flatbuffers.packer.uoffset, metadata, 0)
    found = flatbuffers.table.Table(metadata, start)
    for place, in_list in (
        (3, True),  # ModelMetadata.subgraph_metadata
        (2, True),  # SubGraphMetadata.input_tensor_metadata
        (3, False),  # TensorMetadata.content
    ):
        found = _field(found, place, in_list)
        if found is None:
            return None
    kind = found.Offset(4)
    uint8 = flatbuffers.number_types.Uint8Flags
    if not kind or found.Get(uint8, kind + found.Pos) != _AUDIO_PROPERTIES:
        return None
    properties = _field(found, 1, False)
    offset = properties and properties.Offset(4)
    uint32 = flatbuffers.number_types.Uint32Flags
    return properties.Get(uint32, offset + properties.Pos) if offset else None


def _field(table, place, in_list):
    """Table in a field, or the first one of a list, or None."""
    offset = table.Offset(4 + 2 * place)
    if not offset:
        return None
    if in_list:
        if not table.VectorLen(offset):
            return None
        start = table.Indirect(table.Vector(offset))
    else:
        start = table.Indirect(offset + table.Pos)
    return flatbuffers.table.Table(table.Bytes, start)


def pack(model):
    """Bytes of the LiteRT file of a `schema.ModelT`."""
    builder = _Builder(1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """Builder that aligns constants to 16 bytes, as the format demands.

    The generated code ignores that attribute (`force_align`) of the schema.
    """

    def StartVector(self, elemSize, numElems, alignment):
        if elemSize == 1:
            alignment = 16
        return super().StartVector(elemSize, numElems, alignment)
