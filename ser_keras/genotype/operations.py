"""Names of the operations, streams and fusions of genotypes."""

#: Names of the candidate operations, per family, in the papers' order.
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

#: Kinds of cell, and the family of operations each of them is made of.
CELL_KINDS = {"normal": "cnn", "reduce": "cnn", "recurrent": "recurrent"}

#: The two streams of a `TwoStreamGenotype`, and the ways to join them.
STREAMS = ("handcrafted", "deep")
FUSIONS = (
    "concatenation",
    "gating",
    "cross_attention",
    "late",
    "supplement",
)

_KNOWN = {"cnn": set(CNN_OPERATIONS), "recurrent": set(RECURRENT_OPERATIONS)}


def register_operation_name(name: str, family: str) -> None:
    """Makes a user's operation name valid in genotypes and search spaces.

    Called by `ser_keras.layers.register_primitive`, which also says how to
    build the operation.

    Args:
        name: The operation's name, such as `"gru_1"`.
        family: `"cnn"` or `"recurrent"`.
    """
    if family not in _KNOWN:
        raise ValueError(
            f"`family` must be one of {sorted(_KNOWN)}. Received: "
            f"family={family!r}"
        )
    _KNOWN[family].add(name)


def check_operation(name: str, kind: str) -> None:
    """Raises ValueError if `name` is no operation of cells of this `kind`."""
    if kind not in CELL_KINDS:
        raise ValueError(
            f"`kind` must be one of {tuple(CELL_KINDS)}. Received: "
            f"kind={kind!r}"
        )
    known = _KNOWN[CELL_KINDS[kind]]
    if name not in known:
        raise ValueError(
            f"Unknown operation {name!r} in a {kind!r} cell. Known "
            f"operations: {', '.join(sorted(known))}. Operations of your own "
            "are added with `ser_keras.layers.register_primitive`."
        )


def check_fusion(name: str) -> None:
    """Raises ValueError if `name` is not one of `FUSIONS`."""
    if name not in FUSIONS:
        raise ValueError(
            f"`fusion` must be one of {FUSIONS}. Received: fusion={name!r}"
        )
