"""LiteRT files as graphs: an inner tensor as the output."""

import flatbuffers

try:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "LiteRT files need the package ai-edge-litert: "
        "pip install 'ser_keras[litert]'",
        name=error.name,
    ) from error

_IDENTIFIER = b"TFL3"


def read_model(path):
    """The graph of a LiteRT file.

    Args:
        path: `pathlib.Path`.

    Returns:
        `schema.ModelT`.

    Raises:
        ValueError: It is no LiteRT file.
    """
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise ValueError(
            f"{path} is not a LiteRT file: it has no identifier TFL3"
        )
    return schema.ModelT.InitFromPackedBuf(content, 0)


def cut_at(model, name):
    """Makes a tensor the only output; what does not lead to it is dropped.

    A full-speed interpreter keeps no inner tensor, and would compute the rest.

    Args:
        model: `schema.ModelT`, changed.
        name: Of the tensor.

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
    model.signatureDefs = []  # They name the outputs of before.


def pack(model):
    """Bytes of a LiteRT file, of a `schema.ModelT`."""
    builder = _Builder(1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """Constants begin at multiples of 16 bytes, as the format demands.

    The generated code leaves out that attribute (`force_align`) of the schema.
    """

    def StartVector(self, elemSize, numElems, alignment):
        if elemSize == 1:
            alignment = 16
        return super().StartVector(elemSize, numElems, alignment)
