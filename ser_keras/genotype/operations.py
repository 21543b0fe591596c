"""Names of the operations, streams and fusions of genotypes."""

#: Names of the candidate operations of CNN cells, in the papers' order.
CNN_OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "none",
)
#: Names of the candidate operations of recurrent cells, in the papers' order.
RECURRENT_OPERATIONS = (
    "lstm_att_1",
    "lstm_att_2",
    "lstm_1",
    "lstm_2",
    "lstm_3",
    "lstm_4",
    "rnn_att_1",
    "rnn_att_2",
    "rnn_1",
    "rnn_2",
    "rnn_3",
    "rnn_4",
    "skip_connect",
    "none",
)

#: The family of operations of each kind of cell.
CELL_KINDS = {"normal": "cnn", "reduce": "cnn", "recurrent": "recurrent"}

#: The two streams of a `TwoStreamGenotype`.
STREAMS = ("handcrafted", "deep")
#: Names of the fusions of the two streams.
FUSIONS = (
    "concatenation",
    "gating",
    "cross_attention",
    "late",
    "supplement",
)

_KNOWN = {"cnn": set(CNN_OPERATIONS), "recurrent": set(RECURRENT_OPERATIONS)}


def register_operation_name(name: str, family: str) -> None:
    """Makes the name of a user's operation valid in genotypes and spaces.

    `ser_keras.layers.register_primitive` calls it, and also registers how to
    build the operation.

    Args:
        name: Name of the operation, such as `"gru_1"`.
        family: `"cnn"` or `"recurrent"`.

    Raises:
        ValueError: There is no such family.
    """
    if family not in _KNOWN:
        raise ValueError(
            f"`family` must be one of {sorted(_KNOWN)}. Received: "
            f"family={family!r}"
        )
    _KNOWN[family].add(name)


def check_operation(name: str, kind: str) -> None:
    """Raises ValueError unless `name` is an operation of this kind of cell."""
    if kind not in CELL_KINDS:
        raise ValueError(
            f"`kind` must be one of {tuple(CELL_KINDS)}. Received: "
            f"kind={kind!r}"
        )
    known = _KNOWN[CELL_KINDS[kind]]
    if name not in known:
        raise ValueError(
            f"Unknown operation {name!r} in a {kind!r} cell. Known "
            f"operations: {', '.join(sorted(known))}. Add your own with "
            "`ser_keras.layers.register_primitive`."
        )


def check_fusion(name: str) -> None:
    """Raises ValueError unless `name` is one of `FUSIONS`."""
    if name not in FUSIONS:
        raise ValueError(
            f"`fusion` must be one of {FUSIONS}. Received: fusion={name!r}"
        )
