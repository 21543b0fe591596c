"""SuperNet: bilevel search of an architecture and its weights."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any

import keras
import tensorflow as tf

from ser_keras import _replicas as replicas
from ser_keras._registry import serializable
from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.layers.architecture_weights import ArchitectureWeights
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.network import Network
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.optimizers.fused import FusedSGD
from ser_keras.search.gradients import first_order
from ser_keras.search.gradients import unrolled
from ser_keras.search_space import TwoStreamSearchSpace
from ser_keras.search_space import search_space_from_config

if TYPE_CHECKING:
    from ser_keras.search_space import SearchSpace


@serializable
class SuperNet(Network):
    """Supernet: all architectures of a search space in one network.

    Every edge computes all its candidates, mixed by a softmax over the edge's
    architecture parameters (alphas). `fit` takes batches of two
    speaker-disjoint halves of the training set, made by `bilevel`: each step
    updates the alphas on one half, then the weights on the other.

    Args:
        search_space: A `SearchSpace`, or a `TwoStreamSearchSpace`.
        input_shape: `(time, features, 1)`; of two streams, a dict of them.
        num_classes: Number of classes.
        seed: Seed of the initial alphas.
        network_class: Class of the searched network, called as
            `network_class(search_space, input_shape, num_classes, **network)`
            with a `dtype` among the latter: a registered Keras class or its
            registered name. By default `CellNetwork`, or `TwoStreamNet` for
            two streams.
        **network: Other arguments of that class, and `name`, `dtype` and
            `trainable` of the supernet. The network gets the dtype policy; the
            alphas and their softmax are in full precision under each.

    Call arguments:
        inputs: `(batch, time, features, 1)`; of two streams, a dict of them.
        training: Whether to apply dropout, and batch norms use the statistics
            of the batch.

    Output shape: logits, `(batch, num_classes)`, float32.

    Raises:
        ValueError: `network_class` is no registered class, or an argument of
            the network is out of range.

    Example:
    >>> import ser_keras as ser
    >>> space = ser.SearchSpace(cnn=(), recurrent=("rnn_1", "skip_connect"),
    ...                         num_nodes=1, edges_per_node=1)
    >>> supernet = ser.SuperNet(space, (20, 8, 1), num_classes=3, num_cells=0,
    ...                         recurrent_filters=4)
    >>> supernet.compile()
    >>> x = np.random.default_rng(0).normal(size=(8, 20, 8, 1))
    >>> half = tf.data.Dataset.from_tensors((x.astype("float32"), [0, 1] * 4))
    >>> history = supernet.fit(ser.bilevel(half, half), verbose=0)
    >>> space.contains(supernet.derive())
    True

    References:
        - DARTS, arXiv 1806.09055, algorithm 1; emoDARTS, arXiv 2403.14083.
    """

    train_function: Any  # Of `keras.Model`.

    def __init__(
        self,
        search_space: SearchSpace | TwoStreamSearchSpace,
        input_shape: Any,
        num_classes: int,
        seed: int | None = None,
        network_class: type[Any] | None = None,
        **network: Any,
    ):
        own = ("name", "dtype", "trainable")
        super().__init__(**{k: network.pop(k) for k in own if k in network})
        self._in_evaluate = False
        if isinstance(search_space, dict):
            search_space = search_space_from_config(search_space)
        self.search_space = search_space
        self.feature_shape = keras.tree.map_shape_structure(tuple, input_shape)
        self.seed = seed
        self.num_classes = num_classes
        self.network_class = _network_class(network_class, search_space)
        self.network = self.network_class(
            search_space,
            input_shape,
            num_classes,
            dtype=self.dtype_policy,
            **network,
        )
        self.architecture = ArchitectureWeights(
            {
                kind: [
                    search_space.num_edges(kind),
                    len(search_space.candidates(kind)),
                ]
                for kind in search_space.kinds
            },
            seed=seed,
            dtype=self.dtype_policy,
        )
        self.architecture_loss = keras.metrics.Mean(name="architecture_loss")
        self.build(self.input_shape)

    def build(self, input_shape: Any) -> None:
        """Records the shapes, which Keras' `export` needs; nothing is built."""

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        return self.network(
            inputs,
            mixing_weights=self.architecture.mixing_weights(),
            training=training,
        )

    def compile(
        self,
        optimizer: Any = None,
        architecture_optimizer: Any = None,
        *,
        loss: Any = None,
        order: int = 1,
        clip_norm: float | None = 5.0,
        weight_decay: float = 3e-4,
        architecture_decay: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        """Configures the search.

        Args:
            optimizer: Optimizer of the weights; default SGD with learning
                rate 0.025 and momentum 0.9. Gradients are clipped by
                `clip_norm`, not by the optimizer.
            architecture_optimizer: Optimizer of the alphas; default Adam with
                learning rate 3e-4 and betas (0.5, 0.999).
            loss: Default cross-entropy of logits and integer labels.
            order: Order of the architecture's gradient: 1, or 2 for the
                gradient through one virtual weight step. This is a step of
                SGD; if `optimizer` is an SGD, with its momentum, of Nesterov
                or not.
            clip_norm: Largest norm of the weights' gradient, or `None`.
            weight_decay: L2 decay of the weights, added to their gradient as
                in the papers' code (that of Keras' optimizers is decoupled).
            architecture_decay: The same for the alphas.
            **kwargs: Other arguments of `keras.Model.compile`.

        Raises:
            ValueError: `order` is not 1 or 2, or the compute dtype is float16.
        """
        if order not in (1, 2):
            raise ValueError(
                f"`order` must be 1 or 2. Received: order={order!r}"
            )
        if self.compute_dtype == "float16":
            raise ValueError(
                "`dtype` must be 'mixed_bfloat16' or 'float32': a search in "
                "float16 needs two loss scales, which SuperNet does not have. "
                f"Received: dtype={self.dtype_policy.name!r}"
            )
        if optimizer is None:
            optimizer = FusedSGD(0.025, momentum=0.9)
        if architecture_optimizer is None:
            architecture_optimizer = keras.optimizers.Adam(
                3e-4, beta_1=0.5, beta_2=0.999
            )
        if loss is None:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        self.architecture_optimizer = keras.optimizers.get(
            architecture_optimizer
        )
        self.order = order
        self.clip_norm = clip_norm
        self.weight_decay = weight_decay
        self.architecture_decay = architecture_decay
        self.optimizer.build(self.trainable_variables)
        self.architecture_optimizer.build(self._alphas())

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self.compiled:
            return None
        optimizer = keras.optimizers.serialize(self.architecture_optimizer)
        return {
            **super().get_compile_config(),
            "architecture_optimizer": optimizer,
            "order": self.order,
            "clip_norm": self.clip_norm,
            "weight_decay": self.weight_decay,
            "architecture_decay": self.architecture_decay,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(
        self, x: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`, with a data set of `bilevel`.

        Raises:
            ValueError: The data set does not yield two batches a step, or
                `class_weight` was given.
        """
        if kwargs.get("class_weight") is not None:
            raise ValueError(
                "`class_weight` does not apply to the two halves of a search. "
                "Compile with SparseCategoricalFocalCrossentropy("
                "class_weights=[...]), or yield (x, y, sample_weight) in each "
                f"half. Received: class_weight={kwargs['class_weight']}"
            )
        spec = getattr(x, "element_spec", None)
        if not (isinstance(spec, tuple) and len(spec) == 2) or any(
            not isinstance(half, tuple) for half in spec
        ):
            raise ValueError(
                "`x` must be a tf.data.Dataset of two batches per step, "
                "((x, y), (x, y)), as `bilevel` makes it. Received: a data set "
                f"with elements {spec}"
            )
        return super().fit(x, *args, **kwargs)

    def _labels(self, x, y):
        return x.element_spec[0][1]

    def make_train_function(self, force: bool = False) -> Callable[..., Any]:
        """As Keras', but a step is a single graph.

        Keras makes a function of a batch within one of the iterator.
        TensorFlow copies the inner graph into the outer one and keeps both:
        for the full space this takes 0.5 GB, and a seventh of the time of a
        first step.
        """
        if (
            self.run_eagerly
            or self.jit_compile
            or self.steps_per_execution > 1
            or replicas.uses_strategy(self)
        ):
            return super().make_train_function(force)
        if self.train_function is not None and not force:
            return self.train_function

        @tf.function(autograph=False, reduce_retracing=True)
        def step(iterator):
            batch = next(iterator)
            return self.distribute_strategy.run(self.train_step, args=(batch,))

        self.train_function = step
        return step

    def batch_of_one_replica(self, element: Any) -> Any:
        # `fit` is given two batches, `evaluate` one.
        training = isinstance(element[0], tuple)
        return element[0] if training else element

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        weight_batch, architecture_batch = data
        loss, gradients = self._architecture_step(
            weight_batch, architecture_batch
        )
        with replicas.part_of_batch(architecture_batch) as (batch, _):
            share = replicas.batch_share(batch[0])
            self.track_loss("architecture_loss", loss, share, batch[0])
        # One after the other: else the copies of the weights that both make
        # could be in memory together.
        with tf.control_dependencies(gradients):
            return self._weight_step(weight_batch)

    def _architecture_step(self, weight_batch, architecture_batch):
        weights = [tf.convert_to_tensor(v) for v in self.trainable_variables]
        alphas = {
            kind: tf.convert_to_tensor(alpha)
            for kind, alpha in self.architecture.alphas.items()
        }
        state = [
            tf.convert_to_tensor(v)
            for v in self.network.non_trainable_variables
        ]
        loss = functools.partial(self._loss_of, state)
        if self.order == 1:
            gradients, value = first_order(
                loss, weights, alphas, architecture_batch
            )
        else:
            gradients, value = unrolled(
                loss,
                weights,
                alphas,
                weight_batch,
                architecture_batch,
                learning_rate=tf.convert_to_tensor(
                    self.optimizer.learning_rate
                ),
                weight_decay=self.weight_decay,
                all_reduce=replicas.all_reduce,
                in_loop=replicas.num_replicas() == 1,
                **self._momentum(),
            )
        gradients = replicas.global_gradients(
            [gradients[kind] for kind in alphas],
            alphas.values(),
            self.architecture_decay,
        )
        self.architecture_optimizer.apply(gradients, self._alphas())
        return value, gradients

    def _momentum(self):
        momentum = getattr(self.optimizer, "momentum", 0.0)
        if not isinstance(self.optimizer, keras.optimizers.SGD) or not momentum:
            return {}
        velocities = [tf.convert_to_tensor(v) for v in self.optimizer.momentums]
        return {
            "momentum": momentum,
            "velocities": velocities,
            "nesterov": self.optimizer.nesterov,
        }

    def _loss_of(self, state, weights, alphas, batch):
        """The training loss as a pure function: updates are discarded."""
        with replicas.part_of_batch(batch) as (batch, _):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            logits, _ = self.network.stateless_call(
                weights,
                state,
                x,
                mixing_weights=self.architecture.mixing_weights(alphas),
                training=True,
            )
            loss = self.compute_loss(x, y, logits, sample_weight)
            return loss * tf.cast(replicas.batch_share(x), loss.dtype)

    def _weight_step(self, batch):
        # The copy depends on the architecture's step, and so all that follows.
        batch = tf.nest.map_structure(tf.identity, batch)
        weights = [tf.convert_to_tensor(v) for v in self.trainable_variables]
        with replicas.part_of_batch(batch) as (batch, rows):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            share = replicas.batch_share(x)
            with tf.GradientTape() as tape:
                logits = self(x, training=True)
                loss = self.compute_loss(x, y, logits, sample_weight)
                loss *= tf.cast(share, loss.dtype)
            gradients = tape.gradient(
                loss,
                [v.value for v in self.trainable_variables],
                unconnected_gradients="zero",
            )
            gradients = replicas.global_gradients(
                gradients, weights, self.weight_decay, self.clip_norm
            )
            self.optimizer.apply(gradients, self.trainable_variables)
            self.track_loss("loss", loss, share, x)
            return self.compute_real(rows, x, y, logits, sample_weight)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        # Keras takes the results of a test step for those of metrics only if
        # they have the names of all of these; else it averages them over the
        # replicas.
        hidden = [self.architecture_loss] if self._in_evaluate else []
        return [m for m in super().metrics if m not in hidden]

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        self._in_evaluate = True
        try:
            yield
        finally:
            self._in_evaluate = False

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        logs = super().test_step(data)
        # A metric of the model that only training updates.
        return {k: v for k, v in logs.items() if k != "architecture_loss"}

    def _alphas(self):
        return list(self.architecture.alphas.values())

    def derive(self) -> Genotype | TwoStreamGenotype:
        """The discrete architecture of the present alphas.

        Raises:
            ValueError: The alphas are not finite.
        """
        return self.search_space.derive(self.alphas())

    def alphas(self) -> dict:
        """The architecture parameters: dict `{kind: edges x candidates}`."""
        return {
            kind: alpha.numpy().tolist()
            for kind, alpha in self.architecture.alphas.items()
        }

    def get_config(self) -> dict[str, Any]:
        network = self.network.get_config()
        for name in ("architecture", "name", "dtype", "trainable"):
            network.pop(name, None)
        return {
            **super().get_config(),
            "search_space": self.search_space.get_config(),
            "seed": self.seed,
            "network_class": keras.saving.get_registered_name(
                self.network_class
            ),
            **network,
        }


def _network_class(given, search_space):
    if given is None:
        two = isinstance(search_space, TwoStreamSearchSpace)
        return TwoStreamNet if two else CellNetwork
    found = given
    if isinstance(given, str):
        found = keras.saving.get_registered_object(given)
    if found is None:
        raise ValueError(
            "`network_class` must be a registered Keras class or its "
            "registered name; its module must have been imported. Received: "
            f"network_class={given!r}"
        )
    return found
