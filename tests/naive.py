"""Reference implementation of operations, cells and networks.

It consists of slices, sums, products and Python loops over taps and frames:
no convolution, pooling, recurrent or normalisation kernel of TensorFlow or
Keras, and nothing of `ser_keras`. It computes in float64, for which there are
no optimised kernels. `as_shipped.py` compares the library with it, gradients
included.

Weights are dicts by name, as `get_candidate` returns them.
"""

import numpy as np
import tensorflow as tf

EPSILON = 1e-5


def pad(x, time, bands, value=0.0):
    return tf.pad(
        x, [[0, 0], [time, time], [bands, bands], [0, 0]], constant_values=value
    )


def windows(x, size, strides=1, dilation=1, border=0.0):
    """For each tap of a window, its input at every output position."""
    reach = dilation * (size - 1) // 2
    time, bands = x.shape[1:3]
    x = pad(x, reach, reach, border)
    return [
        x[:, i : i + time : strides, j : j + bands : strides]
        for i in range(0, dilation * size, dilation)
        for j in range(0, dilation * size, dilation)
    ]


def depthwise(x, kernel, strides=1, dilation=1):
    """`kernel`: `(size, size, channels, 1)`."""
    size = kernel.shape[0]
    taps = tf.reshape(kernel, (size * size, -1))
    parts = windows(x, size, strides, dilation)
    return tf.add_n([p * taps[i] for i, p in enumerate(parts)])


def convolve(x, kernel, strides=1):
    """`kernel`: `(size, size, channels, filters)`."""
    size, _, channels, filters = kernel.shape
    taps = tf.reshape(kernel, (-1, channels, filters))
    parts = windows(x, size, strides)
    return tf.add_n([p @ taps[i] for i, p in enumerate(parts)])


def batch_norm(x, weights, suffix="", epsilon=EPSILON):
    """Batch normalisation in training: by the statistics of the batch."""
    axes = list(range(x.shape.rank - 1))
    mean = tf.reduce_mean(x, axes)
    variance = tf.reduce_mean((x - mean) ** 2, axes)
    x = (x - mean) / tf.sqrt(variance + epsilon)
    return x * weights.get(f"gamma{suffix}", 1.0) + weights.get(
        f"beta{suffix}", 0.0
    )


def layer_norm(x, gamma, beta):
    mean = tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean((x - mean) ** 2, -1, keepdims=True)
    return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta


def factor(mask, x):
    """The mask `(batch, time)` as a factor of `x`."""
    if mask is None:
        return 1.0
    shape = [*mask.shape, *[1] * (x.shape.rank - 2)]
    return tf.reshape(tf.cast(mask, x.dtype), shape)


def strided(mask, strides):
    return mask if mask is None or strides == 1 else mask[:, ::2]


def pool(x, kind, strides, mask):
    """Pooling over the positions inside a clip."""
    real = factor(mask, x) * tf.ones_like(x)
    if kind == "max":
        x = tf.where(real > 0, x, -1e30)
        return tf.reduce_max(tf.stack(windows(x, 3, strides, border=-1e30)), 0)
    total = tf.add_n(windows(x * real, 3, strides))
    return tf.math.divide_no_nan(total, tf.add_n(windows(real, 3, strides)))


def reduce(x, w, mask):
    """FactorizedReduce; `mask` of the output."""
    time, bands = x.shape[1:3]
    y = pad(tf.maximum(x, 0.0), 1, 1)[:, 1:, 1:]
    first = y[:, :time:2, :bands:2] @ w["kernel_0"]
    second = y[:, 1 : time + 1 : 2, 1 : bands + 1 : 2] @ w["kernel_1"]
    y = batch_norm(tf.concat([first, second], -1), w)
    return y * factor(mask, y)


def cnn_candidate(op, w, x, strides=1, mask=None):
    """`mask`: of the input, whose padded frames are zero."""
    out_mask = strided(mask, strides)
    if op in ("max_pool_3x3", "avg_pool_3x3"):
        y = pool(x, op[:3], strides, mask)
        return batch_norm(y * factor(out_mask, y), w) * factor(out_mask, y)
    if op == "skip_connect":
        return x if strides == 1 else reduce(x, w, out_mask)
    dilation = 2 if op.startswith("dil") else 1
    y = x
    for stage in range(3 - dilation):
        y = depthwise(
            tf.maximum(y, 0.0),
            w[f"depthwise_{stage}"],
            strides if stage == 0 else 1,
            dilation,
        )
        y = batch_norm(y @ w[f"pointwise_{stage}"], w, f"_{stage}")
        y = y * factor(out_mask, y)
    return y


def recurrence(kind, x, w, mask, backwards=False):
    """All states `(batch, time, filters)`, and the last one.

    A padded frame leaves the state as it is, in either direction.
    """
    filters = w["recurrent_kernel"].shape[0]
    h = c = tf.zeros((x.shape[0], filters), x.dtype)
    states = {}
    steps = range(x.shape[1])
    for t in reversed(steps) if backwards else steps:
        a = x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
        if kind == "lstm":
            i, f, g, o = tf.split(a, 4, -1)
            new_c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            new_h = tf.sigmoid(o) * tf.tanh(new_c)
        else:
            new_c, new_h = c, tf.tanh(a)
        real = factor(None if mask is None else mask[:, t : t + 1], x[:, t])
        h, c = real * new_h + (1 - real) * h, real * new_c + (1 - real) * c
        states[t] = h
    return tf.stack([states[t] for t in steps], 1), h


def recurrent_candidate(op, w, x, mask=None):
    if op == "skip_connect":
        return x * factor(mask, x)
    kind, attends = op.split("_")[0], "att" in op

    def layer(prefix):
        names = ("kernel", "recurrent_kernel", "bias")
        return {name: w[prefix + name] for name in names}

    y = x
    for n in range(1, int(op[-1]) + 1):
        if not attends:
            y, _ = recurrence(kind, y, layer(f"layer_{n}/"), mask)
            continue
        ways = [
            recurrence(kind, y, layer(f"layer_{n}/{way}/"), mask, way[0] == "b")
            for way in ("forward", "backward")
        ]
        y, last = (tf.concat(parts, -1) for parts in zip(*ways, strict=True))
    if attends:
        last = last[:, None] + tf.zeros_like(y)
        scores = tf.concat([last, y], -1) @ w["score/kernel"] + w["score/bias"]
        if mask is not None:
            scores = tf.where(mask[..., None], scores, -1e30)
        weights = softmax(scores, 1)
        context = tf.reduce_sum(weights * y, 1)[:, None] + tf.zeros_like(y)
        y = (
            tf.concat([y, context], -1) @ w["combine/kernel"]
            + w["combine/bias"]
        )
        y = y @ w["output/kernel"] + w["output/bias"]
    return y * factor(mask, y)


def softmax(x, axis=-1):
    x = tf.exp(x - tf.stop_gradient(tf.reduce_max(x, axis, keepdims=True)))
    return x / tf.reduce_sum(x, axis, keepdims=True)


def mixture(names, weights, mixing, candidate):
    """Output of an edge: `weights` by operation; `mixing` None for one."""
    terms = [
        candidate(op, weights[op]) * (1.0 if mixing is None else mixing[k])
        for k, op in enumerate(names)
        if op != "none"
    ]
    return tf.add_n(terms) if terms else None


def cell(kind, edges, concat, weights, older, newer, mixing=None, mask=None):
    """`weights[edge][op]`: dicts; `mixing`: `(edges, candidates)` or None."""
    states = {0: older, 1: newer}
    for node in range(2, max(target for _, target, _ in edges) + 1):
        terms = []
        for e, (source, target, names) in enumerate(edges):
            if target != node:
                continue
            strides = 2 if kind == "reduce" and source < 2 else 1
            own = mask
            if kind == "reduce" and source >= 2:
                own = strided(mask, 2)

            def candidate(op, w, x=states[source], strides=strides, own=own):
                if kind == "recurrent":
                    return recurrent_candidate(op, w, x, own)
                return cnn_candidate(op, w, x, strides, own)

            terms.append(
                mixture(
                    names,
                    weights[e],
                    None if mixing is None else mixing[e],
                    candidate,
                )
            )
        states[node] = tf.add_n([t for t in terms if t is not None])
    return tf.concat([states[s] for s in concat], -1)


def frame_mask(x):
    """Real frames of features whose padding is zero, as numpy."""
    sounding = np.abs(x).max(axis=(2, 3)) > 0
    last = np.where(sounding, np.arange(x.shape[1]), 0).max(1)
    return tf.constant(np.arange(x.shape[1]) <= last[:, None])


def read_cell(layer):
    """`[{op: {name: array}}]` of each edge of a `Cell`."""
    return [
        {op: dict(layer.get_candidate(e, op)) for op in names if op != "none"}
        for e, (_, _, names) in enumerate(layer.edges)
    ]


def read_network(network):
    """All weights of a `CellNetwork`, nested, by name."""
    first = (
        {"stem": {"kernel": network.stem.kernel.numpy()}}
        if (network.num_cells)
        else {}
    )
    if network.num_cells:
        first["stem_norm"] = network.stem_norm.get_channels(slice(None))
    preprocess = []
    for layer in network.preprocess:
        w = dict(layer.norm.get_channels(slice(None)))
        if hasattr(layer, "convolution"):
            w["kernel"] = layer.convolution.kernel.numpy()[0, 0]
        else:
            for i, kernel in enumerate(layer.kernels):
                w[f"kernel_{i}"] = kernel.numpy()[:, 0]
        preprocess.append(w)
    sequence = [
        {
            "kernel": layer.dense.kernel.numpy(),
            "bias": layer.dense.bias.numpy(),
            "gamma": layer.norm.gamma.numpy(),
            "beta": layer.norm.beta.numpy(),
        }
        for layer in network.sequence_preprocess
    ]
    pool_layer, classifier = network.pool, network.classifier
    return {
        **first,
        "preprocess": preprocess,
        "cells": [read_cell(c) for c in network.cells],
        "sequence": sequence,
        "recurrent_cells": [read_cell(c) for c in network.recurrent_cells],
        "pool": {
            "hidden": pool_layer.hidden.kernel.numpy(),
            "bias": pool_layer.hidden.bias.numpy(),
            "score": pool_layer.score.kernel.numpy(),
        },
        "classifier": {
            "kernel": classifier.kernel.numpy(),
            "bias": classifier.bias.numpy(),
        },
    }


def network(model, values, x, mixing=None):
    """Logits of a `CellNetwork` in training, without any dropout.

    Of `model` only the structure is read; `values` is as `read_network`
    returns it, `mixing` the mixing weights by kind of cell.
    """
    mixing = mixing or {}
    mask = frame_mask(x)
    x = tf.constant(x)
    if model.num_cells:
        strides = model.stem_strides
        y = convolve(x, values["stem"]["kernel"], strides)
        y = batch_norm(y, values["stem_norm"])
        mask = strided(mask, strides)
        y = y * factor(mask, y)
        states, masks = [y, y], [mask, mask]
        for i, layer in enumerate(model.cells):
            inputs = []
            for w, state in zip(
                values["preprocess"][2 * i : 2 * i + 2], states, strict=True
            ):
                if "kernel" in w:
                    z = batch_norm(tf.maximum(state, 0.0) @ w["kernel"], w)
                    inputs.append(z * factor(masks[1], z))
                else:
                    inputs.append(reduce(state, w, masks[1]))
            output = cell(
                layer.kind,
                layer.edges,
                layer.concat,
                values["cells"][i],
                *inputs,
                mixing=mixing.get(layer.kind),
                mask=masks[1],
            )
            after = strided(masks[1], 2 if layer.kind == "reduce" else 1)
            states, masks = [states[1], output], [masks[1], after]
        older, newer = states
        if model.cells[-1].kind == "reduce":
            older = older[:, ::2]
        sequences, mask = (
            [tf.reduce_mean(s, 2) for s in (older, newer)],
            masks[1],
        )
    else:
        flat = tf.reshape(x, (*x.shape[:2], -1))
        sequences = [flat, flat]
    for i, layer in enumerate(model.recurrent_cells or [None]):
        inputs = []
        for w, s in zip(
            values["sequence"][2 * i : 2 * i + 2], sequences, strict=True
        ):
            z = layer_norm(s @ w["kernel"] + w["bias"], w["gamma"], w["beta"])
            inputs.append(z * factor(mask, z))
        if layer is None:
            sequences = [None, inputs[0] + inputs[1]]
            break
        output = cell(
            "recurrent",
            layer.edges,
            layer.concat,
            values["recurrent_cells"][i],
            *inputs,
            mixing=mixing.get("recurrent"),
            mask=mask,
        )
        sequences = [sequences[1], output]
    y, w = sequences[1], values["pool"]
    scores = tf.tanh(y @ w["hidden"] + w["bias"]) @ w["score"]
    scores = tf.where(mask[..., None], scores, -1e30)
    pooled = attentive_statistics(y, softmax(scores, 1))
    return (
        pooled @ values["classifier"]["kernel"] + values["classifier"]["bias"]
    )


def attentive_statistics(x, weights):
    """Mean and deviation over time, weighted."""
    mean = tf.reduce_sum(weights * x, 1)
    square = tf.reduce_sum(weights * x**2, 1)
    deviation = tf.sqrt(tf.maximum(square - mean**2, 1e-5))
    return tf.concat([mean, deviation], -1)


def cross_entropy(logits, labels):
    """Mean over the batch."""
    logits = logits - tf.stop_gradient(tf.reduce_max(logits, -1, keepdims=True))
    log_p = logits - tf.math.log(
        tf.reduce_sum(tf.exp(logits), -1, keepdims=True)
    )
    return -tf.reduce_mean(tf.gather(log_p, labels, batch_dims=1))
