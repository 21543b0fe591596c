import pytest

from ser_keras._errors import needs_extra
from ser_keras._errors import shortened


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "[]"),
        (5, "['0', '1', '2', '3', '4']"),
        (7, "['0', '1', '2', '3', '4'] and 2 more"),
    ],
)
def test_shortened(count, text):
    assert shortened(str(i) for i in range(count)) == text


def test_a_missing_extra_is_named():
    with pytest.raises(ModuleNotFoundError) as caught:
        with needs_extra("The demo", "demo", "It is large."):
            import no_such_package  # noqa: F401
    assert caught.value.name == "no_such_package"
    assert "pip install 'ser_keras[demo]'. It is large." in str(caught.value)
    assert "No module named 'no_such_package'" in str(caught.value)


def test_an_extra_of_another_version_is_named_too():
    with pytest.raises(ImportError, match=r"ser_keras\[serve\]") as caught:
        with needs_extra("The server", "serve"):
            from json import no_such_name  # noqa: F401
    assert not isinstance(caught.value, ModuleNotFoundError)


def test_other_errors_pass_unchanged():
    with pytest.raises(ZeroDivisionError):
        with needs_extra("The demo", "demo"):
            1 / 0  # noqa: B018
