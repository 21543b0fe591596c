"""Gradients of the architecture: first order, and unrolled by one step.

Pure functions of tensors. `loss(weights, alphas, batch)` is any scalar
function of a list of weight tensors, a dictionary of alphas and a batch. No
variable is written: in replica context that would silently set the replicas
apart.

A copy of all weights is most of the memory of a large search, and TensorFlow
computes whatever it can as early as it can. Control dependencies and a loop
keep it from making such copies before they are needed.
"""

import tensorflow as tf


def first_order(loss, weights, alphas, architecture_batch):
    """The gradient of the held-out loss at the present weights.

    Args:
        loss: `loss(weights, alphas, batch)`, a scalar.
        weights: List of tensors.
        alphas: Dictionary of tensors.
        architecture_batch: Batch of the half that trains the architecture.

    Returns:
        The gradients, a dictionary like `alphas`, and the loss.

    References:
        - DARTS, arXiv 1806.09055, section 2.3, "first-order approximation".
    """
    # Nothing else is recorded: the weights' gradients are not needed.
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(alphas)
        value = loss(weights, alphas, architecture_batch)
    return tape.gradient(value, alphas), value


def unrolled(
    loss,
    weights,
    alphas,
    weight_batch,
    architecture_batch,
    *,
    learning_rate,
    momentum=0.0,
    velocities=None,
    nesterov=False,
    weight_decay=0.0,
    all_reduce=lambda tensors: tensors,
    in_loop=True,
):
    """The gradient of the held-out loss after one virtual weight step.

    With `g` the gradient of the training loss, the virtual step is
    `w' = w + m v - r (g + d w)`, and the gradient of `L_val(w'(alpha),
    alpha)` is `dL_val(w')/dalpha - r (d2 L_train / dalpha dw) dL_val/dw'`.
    The matrix-vector product is a central difference of step
    `0.01 / |dL_val/dw'|`, which needs no second derivative of any operation
    (cuDNN's recurrent layers have none).

    Where the loss is smooth, that is the derivative through the step, and
    equals nested tapes. Behind ReLU and max-pooling it is DARTS' estimate: the
    two shifted losses lie on other sides of many kinks, and the estimate may
    be further from the derivative than the first order is.

    Args:
        loss: `loss(weights, alphas, batch)`, a scalar.
        weights: List of tensors.
        alphas: Dictionary of tensors.
        weight_batch: Batch of the half that trains the weights.
        architecture_batch: Batch of the half that trains the architecture.
        learning_rate: `r`.
        momentum: `m`.
        velocities: `v`, like `weights`; as Keras keeps them, `-r` included.
        nesterov: Whether the step is Nesterov's: `w' = w + m v' - r (g + d w)`
            with `v' = m v - r (g + d w)`.
        weight_decay: `d`, coupled as in the papers' code.
        all_reduce: Sums lists of tensors over replicas.
        in_loop: Whether both shifted gradients share one graph, in a loop. The
            loss must then not communicate with other replicas, as synchronised
            batch norm does: TensorFlow refuses that in a loop.

    Returns:
        The gradients, a dictionary like `alphas`, and the held-out loss.

    References:
        - DARTS, arXiv 1806.09055, equations 6 to 8.
    """
    if nesterov:  # Written out, the step is one of these factors.
        learning_rate, momentum = learning_rate * (1 + momentum), momentum**2
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        value = loss(weights, alphas, weight_batch)
    gradients = all_reduce(
        tape.gradient(value, weights, unconnected_gradients="zero")
    )
    virtual = []
    for number, (w, g) in enumerate(zip(weights, gradients, strict=True)):
        with tf.control_dependencies([g]):
            step = learning_rate * (g + weight_decay * w)
            if velocities is not None:
                step = step - momentum * velocities[number]
            virtual.append(w - step)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch((virtual, alphas))
        held_out = loss(virtual, alphas, architecture_batch)
    direction, direct = tape.gradient(
        held_out, (virtual, alphas), unconnected_gradients="zero"
    )
    direction = all_reduce(direction)
    norm = tf.maximum(tf.linalg.global_norm(direction), 1e-12)
    epsilon = 0.01 / norm

    def shift(sign, difference):
        moved = [
            w + tf.cast(sign * epsilon, w.dtype) * d
            for w, d in zip(weights, direction, strict=True)
        ]
        slopes, _ = first_order(loss, moved, alphas, weight_batch)
        return -sign, {
            kind: difference[kind] + tf.cast(sign, slope.dtype) * slope
            for kind, slope in slopes.items()
        }

    state = (
        tf.ones_like(epsilon),
        tf.nest.map_structure(tf.zeros_like, alphas),
    )
    # One copy of the weights at a time.
    if in_loop:
        _, difference = tf.while_loop(
            lambda *_: True,
            shift,
            state,
            parallel_iterations=1,
            maximum_iterations=2,
        )
    else:
        state = shift(*state)
        with tf.control_dependencies(tf.nest.flatten(state)):
            _, difference = shift(*state)
    gradients = {
        kind: direct[kind]
        - learning_rate * difference[kind] / (2 * tf.cast(epsilon, alpha.dtype))
        for kind, alpha in alphas.items()
    }
    return gradients, held_out
