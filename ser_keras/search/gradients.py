"""Gradients of the architecture: first order, and through one unrolled step.

The functions are pure functions of tensors. `loss(weights, alphas, batch)` is
any scalar function of a list of weight tensors, a dict of alphas and a batch.
No variable is assigned to: in replica context that would silently make the
replicas differ.

A copy of all weights is most of the memory of a large search, and TensorFlow
computes operations as soon as it can. Control dependencies and a loop keep it
from making such copies before they are needed.
"""

import tensorflow as tf


def first_order(loss, weights, alphas, architecture_batch):
    """Gradient of the architecture half's loss at the present weights.

    Args:
        loss: `loss(weights, alphas, batch)`, a scalar.
        weights: List of tensors.
        alphas: Dict of tensors.
        architecture_batch: Batch of the half that trains the architecture.

    Returns:
        The gradients, a dict like `alphas`, and the loss.

    References:
        - DARTS, arXiv 1806.09055, section 2.3, "first-order approximation".
    """
    # Only the alphas are watched: the weights' gradients are not needed.
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
    """Gradient of the architecture half's loss after one virtual weight step.

    With `g` the gradient of the training loss, the virtual step is
    `w' = w + m v - r (g + d w)`, and the gradient of `L_val(w'(alpha),
    alpha)` is `dL_val(w')/dalpha - r (d2 L_train / dalpha dw) dL_val/dw'`.
    The matrix-vector product is a central difference of step
    `0.01 / |dL_val/dw'|`, which needs no second derivative of any operation
    (cuDNN's recurrent layers have none).

    Where the loss is smooth, this is the derivative through the step, equal
    to that of nested tapes. With ReLU and max pooling it is DARTS' estimate:
    between the two shifted losses are many kinks, and the estimate may be
    further from the derivative than the first order is.

    Args:
        loss: `loss(weights, alphas, batch)`, a scalar.
        weights: List of tensors.
        alphas: Dict of tensors.
        weight_batch: Batch of the half that trains the weights.
        architecture_batch: Batch of the half that trains the architecture.
        learning_rate: `r`.
        momentum: `m`.
        velocities: `v`, like `weights`; with the factor `-r`, as in Keras.
        nesterov: Whether the step is Nesterov's: `w' = w + m v' - r (g + d w)`
            with `v' = m v - r (g + d w)`.
        weight_decay: `d`, coupled L2 decay as in the papers' code.
        all_reduce: Function that sums a list of tensors over the replicas.
        in_loop: Whether both shifted gradients share one graph, in a loop. The
            loss must then not communicate with other replicas, as synchronised
            batch norm does: TensorFlow does not allow that in a loop.

    Returns:
        The gradients, a dict like `alphas`, and the architecture half's loss.

    References:
        - DARTS, arXiv 1806.09055, equations 6 to 8.
    """
    if nesterov:  # Its step is the same with these factors.
        learning_rate, momentum = learning_rate * (1 + momentum), momentum**2
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        value = loss(weights, alphas, weight_batch)
    weight_gradients = all_reduce(
        tape.gradient(value, weights, unconnected_gradients="zero")
    )
    virtual = []
    pairs = zip(weights, weight_gradients, strict=True)
    for number, (w, g) in enumerate(pairs):
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
        gradients, _ = first_order(loss, moved, alphas, weight_batch)
        return -sign, {
            kind: difference[kind] + tf.cast(sign, gradient.dtype) * gradient
            for kind, gradient in gradients.items()
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
