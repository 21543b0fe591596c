"""The search: weights and architecture trained in turns."""

import functools

import keras
import tensorflow as tf

from ser_keras import _replicas as replicas
from ser_keras._registry import serializable
from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.layers.architecture_weights import ArchitectureWeights
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.traced_once import TracedOnce
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.optimizers.fused import FusedSGD
from ser_keras.search import gradients
from ser_keras.search_space import TwoStreamSearchSpace
from ser_keras.search_space import search_space_from_config


@serializable
class SuperNet(TracedOnce):
    """All architectures of a search space in one network, to be searched.

    Every edge runs all its candidates, mixed by a softmax over the edge's
    architecture parameters (alphas). `fit` takes batches of two
    speaker-disjoint halves of the training set, made by `bilevel`: each step
    moves the alphas on one half, then the weights on the other.

    Args:
        search_space: The `SearchSpace`, or a `TwoStreamSearchSpace`.
        input_shape: `(time, features, 1)`; of two streams, a dict of them.
        num_classes: Number of classes.
        seed: Seed of the alphas.
        network_class: What to search, called as `network_class(search_space,
            input_shape, num_classes, **network)`; a registered Keras class or
            its registered name. By default `CellNetwork`, or `TwoStreamNet`
            for two streams.
        **network: Other arguments of that class.

    Call arguments:
        inputs: `(batch, time, features, 1)`; of two streams, a dict of them.

    Output shape: logits, `(batch, num_classes)`.

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

    def __init__(
        self,
        search_space,
        input_shape,
        num_classes,
        seed=None,
        network_class=None,
        **network,
    ):
        name = network.pop("name", None)
        super().__init__(name=name)
        self._evaluating = False
        if isinstance(search_space, dict):
            search_space = search_space_from_config(search_space)
        self.search_space = search_space
        self.seed = seed
        self.num_classes = num_classes
        self.network_class = _network_class(network_class, search_space)
        self.network = self.network_class(
            search_space, input_shape, num_classes, **network
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
        )
        self.architecture_loss = keras.metrics.Mean(name="architecture_loss")
        self.build(
            keras.tree.map_shape_structure(lambda s: (None, *s), input_shape)
        )

    def build(self, input_shape):
        """Nothing is left to make; Keras' `export` wants the shapes."""

    def call(self, inputs, training=None):
        return self.network(
            inputs,
            mixing_weights=self.architecture.mixing_weights(),
            training=training,
        )

    def compile(
        self,
        optimizer=None,
        architecture_optimizer=None,
        *,
        loss=None,
        order=1,
        clip_norm=5.0,
        weight_decay=3e-4,
        architecture_decay=1e-3,
        **kwargs,
    ):
        """Configures the search.

        Args:
            optimizer: Optimiser of the weights; default SGD, 0.025, momentum
                0.9. Do not let it clip: use `clip_norm`.
            architecture_optimizer: Optimiser of the alphas; default Adam,
                3e-4, betas (0.5, 0.999).
            loss: Default cross-entropy of logits and integer labels.
            order: 1, or 2 for the gradient through one virtual weight step.
                The virtual step is one of SGD, with the momentum of
                `optimizer`, Nesterov's or not, if that is an SGD.
            clip_norm: Largest norm of the weights' gradient, or `None`.
            weight_decay: L2 decay of the weights, added to their gradient as
                in the papers' code (Keras' own `weight_decay` is decoupled).
            architecture_decay: The same for the alphas.
            **kwargs: Other arguments of `keras.Model.compile`.

        Raises:
            ValueError: `order` is not 1 or 2, or the policy is float16.
        """
        if order not in (1, 2):
            raise ValueError(
                f"`order` must be 1 or 2. Received: order={order!r}"
            )
        if keras.config.dtype_policy().compute_dtype == "float16":
            raise ValueError(
                "A search in float16 needs two loss scales, which SuperNet "
                "does not have. Use 'mixed_bfloat16' or 'float32'."
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

    def get_compile_config(self):
        optimizer = keras.optimizers.serialize(self.architecture_optimizer)
        return {
            **super().get_compile_config(),
            "architecture_optimizer": optimizer,
            "order": self.order,
            "clip_norm": self.clip_norm,
            "weight_decay": self.weight_decay,
            "architecture_decay": self.architecture_decay,
        }

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, x=None, *args, **kwargs):
        """As `keras.Model.fit`; `x` comes from `bilevel`.

        Raises:
            ValueError: The data set does not yield two batches a step, or
                `class_weight` was given.
        """
        if kwargs.get("class_weight") is not None:
            raise ValueError(
                "`class_weight` is not for the two halves of a search. Compile "
                "with SparseCategoricalFocalCrossentropy(class_weights=[...]), "
                "or yield (x, y, sample_weight) in each half."
            )
        spec = getattr(x, "element_spec", None)
        if not (isinstance(spec, tuple) and len(spec) == 2) or any(
            not isinstance(half, tuple) for half in spec
        ):
            raise ValueError(
                "`SuperNet.fit` needs a tf.data.Dataset of two batches a "
                "step, ((x, y), (x, y)), as `bilevel` makes it. Received "
                f"elements: {spec}"
            )
        return super().fit(x, *args, **kwargs)

    def _labels(self, x, y):
        return x.element_spec[0][1]

    def make_train_function(self, force=False):
        """As Keras', but a step is one graph.

        Keras has a function of a batch within one of the iterator. TensorFlow
        copies the inner graph into the outer one and keeps both: for the full
        space that is 0.5 GB, and a seventh of the time of a first step.
        """
        if (
            self.run_eagerly
            or self.jit_compile
            or self.steps_per_execution > 1
            or self.distribute_strategy.num_replicas_in_sync > 1
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

    def _batch_to_build_from(self, element):
        training = isinstance(element[0], tuple)
        return element[0] if training else element

    def train_step(self, data):
        weight_batch, architecture_batch = data
        loss, slopes = self._architecture_step(weight_batch, architecture_batch)
        x = architecture_batch[0]
        share = replicas.batch_share(x)
        self._log_loss(self.architecture_loss, loss, share, x)
        # Not at the same time, though they could be: the copies that either
        # makes of the weights would be in memory together.
        with tf.control_dependencies(slopes):
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
            slopes, value = gradients.first_order(
                loss, weights, alphas, architecture_batch
            )
        else:
            slopes, value = gradients.unrolled(
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
        slopes = replicas.global_gradients(
            [slopes[kind] for kind in alphas],
            alphas.values(),
            self.architecture_decay,
        )
        self.architecture_optimizer.apply(slopes, self._alphas())
        return value, slopes

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
        """The training loss as a pure function; updates are discarded."""
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
        # Here, the batch waits for the architecture's step.
        batch = tf.nest.map_structure(tf.identity, batch)
        weights = [tf.convert_to_tensor(v) for v in self.trainable_variables]
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        share = replicas.batch_share(x)
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            loss = self.compute_loss(x, y, logits, sample_weight)
            loss *= tf.cast(share, loss.dtype)
        slopes = tape.gradient(
            loss,
            [v.value for v in self.trainable_variables],
            unconnected_gradients="zero",
        )
        slopes = replicas.global_gradients(
            slopes, weights, self.weight_decay, self.clip_norm
        )
        self.optimizer.apply(slopes, self.trainable_variables)
        self._log_loss(self._loss_tracker, loss, share, x)
        return self.compute_metrics(x, y, logits, sample_weight)

    @property
    def metrics(self):
        # Keras takes what a step returns for metrics, and not for losses to be
        # averaged over replicas, where it has the names of all of these.
        hidden = [self.architecture_loss] if self._evaluating else []
        return [m for m in super().metrics if m not in hidden]

    def evaluate(self, *args, **kwargs):
        """As `keras.Model.evaluate`, on batches `(x, y)`."""
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def test_step(self, data):
        logs = super().test_step(data)
        # Tracked by the model, but known in training only.
        return {k: v for k, v in logs.items() if k != "architecture_loss"}

    def _alphas(self):
        return list(self.architecture.alphas.values())

    def derive(self) -> Genotype | TwoStreamGenotype:
        """The architecture that the alphas stand for at present.

        Raises:
            ValueError: The alphas are not finite.
        """
        return self.search_space.derive(self.alphas())

    def alphas(self) -> dict:
        """The architecture parameters: lists `{kind: edges x candidates}`."""
        return {
            kind: alpha.numpy().tolist()
            for kind, alpha in self.architecture.alphas.items()
        }

    def get_config(self):
        network = self.network.get_config()
        del network["architecture"], network["name"]
        return {
            "name": self.name,
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
            "`network_class` must be a Keras class, or the name under which it "
            "is registered; its module must have been imported. Received: "
            f"network_class={given!r}"
        )
    return found
