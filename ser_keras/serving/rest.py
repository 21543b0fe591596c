"""Bodies of TensorFlow Serving's REST interface, in rows or columns."""

import base64
import binascii
import json
import math

import numpy as np

_STANDARD = str.maketrans("-_", "+/")


class BadRequestError(ValueError):
    """A request that cannot be answered; the message says what is needed."""


def parse_predict(body, signatures):
    """Parses the body of a `:predict` call.

    Args:
        body: Bytes of JSON.
        signatures: `{name: {input: tf.TensorSpec}}`.

    Returns:
        `(signature, rows, inputs)`: name of the signature; whether the answer
        is in rows; and a dict of the inputs: a list of bytes for strings, an
        array otherwise, each with a batch axis.

    Raises:
        BadRequestError: TensorFlow Serving would not accept it.

    >>> spec = {"serving_default": {"waveform": tf.TensorSpec((None, None))}}
    >>> parse_predict(b'{"instances": [[0.5, 1.0]]}', spec)
    ('serving_default', True, {'waveform': array([[0.5, 1. ]], dtype=float32)})
    """
    if body.lstrip()[:2] == b"--" and b"form-data" in body[:1000].lower():
        raise BadRequestError(
            "The body is a form (multipart/form-data), not JSON: post it to "
            "`:upload` in place of `:predict`."
        )
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"The body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise BadRequestError("The body must be a JSON object.")
    name = request.get("signature_name") or "serving_default"
    if not isinstance(name, str) or name not in signatures:
        raise BadRequestError(
            f"`signature_name` must be one of {sorted(signatures)}. "
            f"Received: {str(name)[:100]!r}"
        )
    specs = signatures[name]
    rows = "instances" in request
    if rows == ("inputs" in request):
        raise BadRequestError(
            "The body must have `instances` (rows) or `inputs` (columns), "
            "not both."
        )
    columns = (
        _from_rows(request["instances"], specs)
        if rows
        else _named(request["inputs"], specs)
    )
    try:
        inputs = {key: _tensor(key, columns[key], specs[key]) for key in specs}
    except BadRequestError as error:
        raise BadRequestError(
            f"{error}{_hint(name, columns, signatures)}"
        ) from None
    if len({len(value) for value in inputs.values()}) > 1:
        raise BadRequestError("All inputs must have the same batch size.")
    return name, rows, inputs


def format_outputs(outputs, rows, warnings=()):
    """Formats the answer to a `:predict` call.

    Args:
        outputs: Dict of arrays with a batch axis.
        rows: Whether to write rows; otherwise columns.
        warnings: What there is to say about each clip, or None. If there is
            anything, the answer has `warnings` beside `predictions` or
            `outputs`, where clients of TensorFlow Serving do not look.

    Returns:
        Bytes of JSON. NaN becomes null.

    >>> format_outputs({"label": np.array([b"joy"])}, rows=True)
    b'{"predictions":[{"label":"joy"}]}'
    """
    columns = {key: _plain(value) for key, value in outputs.items()}
    answer = {"outputs": columns}
    if rows:
        count = len(next(iter(columns.values())))
        answer = {
            "predictions": [
                {key: value[i] for key, value in columns.items()}
                for i in range(count)
            ]
        }
    if any(warnings):
        answer["warnings"] = list(warnings)
    return json.dumps(
        answer, allow_nan=False, ensure_ascii=False, separators=(",", ":")
    ).encode()


def _hint(name, columns, signatures):
    """Which other signature takes what was given, as the end of a message."""
    if len(columns) > 1:
        return ""
    (value,) = columns.values()
    for other, specs in signatures.items():
        if other == name or len(specs) > 1:
            continue
        ((key, spec),) = specs.items()
        try:
            _tensor(key, value, spec)
        except BadRequestError:
            continue
        return (
            f" The signature {other} takes what was given: add "
            f'"signature_name": "{other}".'
        )
    return ""


def _from_rows(instances, specs):
    if not isinstance(instances, list) or not instances:
        raise BadRequestError("`instances` must be a list that is not empty.")
    named = [_named(instance, specs) for instance in instances]
    return {key: [row[key] for row in named] for key in specs}


def _named(value, specs):
    """Inputs by name; a single input may be given without its name."""
    if isinstance(value, dict) and set(value) != {"b64"}:
        if set(value) != set(specs):
            raise BadRequestError(
                f"Inputs must be {sorted(specs)}. "
                f"Received: {sorted(map(str, value))[:10]}"
            )
        return value
    if len(specs) > 1:
        raise BadRequestError(f"Inputs must be named: {sorted(specs)}.")
    return {next(iter(specs)): value}


def _tensor(key, value, spec):
    if spec.dtype == "string":
        if not isinstance(value, list) or not value:
            raise BadRequestError(
                f"`{key}` must be a list of "
                '{"b64": ...}, one for each file, and not empty.'
            )
        return [_from_base64(key, element) for element in value]
    try:
        with np.errstate(over="ignore"):  # The model refuses infinity.
            array = np.asarray(value, spec.dtype.as_numpy_dtype)
    except (ValueError, TypeError, OverflowError):
        raise BadRequestError(
            f"`{key}` must be numbers of shape {_shape(spec)}: a list for each "
            "clip, all equally long (filled up with 0, for the signature "
            "serving_lengths, which is told their lengths)."
        ) from None
    allowed = {int, float} if array.dtype.kind == "f" else {int}
    found = _types(value) - {list} - allowed
    if found:  # NumPy would convert strings and booleans.
        kind = "numbers" if float in allowed else "integers"
        raise BadRequestError(
            f"`{key}` must be {kind}. Received: "
            + ", ".join(sorted(x.__name__ for x in found))
        )
    if not spec.shape.is_compatible_with(array.shape) or 0 in array.shape:
        raise BadRequestError(
            f"`{key}` must have shape {_shape(spec)}, a list for each clip, "
            f"and not be empty. Received: shape {array.shape}"
        )
    return array


def _types(value):
    """Types of the elements of nested lists."""
    if not isinstance(value, list):
        return {type(value)}
    types = set(map(type, value))  # Fast for long lists of numbers.
    return types.union(*map(_types, value)) if list in types else types


def _from_base64(key, element):
    text = element.get("b64") if isinstance(element, dict) else None
    if not isinstance(text, str):
        raise BadRequestError(
            f'`{key}` must be a file\'s bytes in base64: {{"b64": "UklGR..."}}.'
        )
    # A browser's `readAsDataURL` puts the type before, some leave line breaks
    # in (which TensorFlow Serving accepts) or the padding out, and the alphabet
    # of URLs has two other characters.
    if text.startswith("data:"):
        text = text.partition(",")[2]
    text = "".join(text.split()).translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(f"`{key}` is not base64: {error}.") from None


def _shape(spec):
    return f"({', '.join(str(size or 'any') for size in spec.shape)})"


def _plain(array):
    if array.dtype.kind == "f":
        values = array.tolist()
        return values if np.isfinite(array).all() else _without_nan(values)
    if array.dtype.kind in "OSU":
        return _text(array.tolist())
    return array.tolist()


def _without_nan(value):
    if isinstance(value, list):
        return [_without_nan(element) for element in value]
    return value if math.isfinite(value) else None


def _text(value):
    if isinstance(value, list):
        return [_text(element) for element in value]
    return value.decode("utf-8", "replace") if type(value) is bytes else value
