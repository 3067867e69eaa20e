"""The examples of the public functions: what `darts_tf.__all__` names, and what the modules there offer, has one."""

import doctest
import inspect

import pytest

import darts_tf
from darts_tf.api import products
from darts_tf.system.errors import UserError
from tests.helpers.processes import python

FIRST = "configure"  # has to come before TensorFlow is used: it has a process of its own


def offered(module):
    """The functions and classes of a public module, by name: those of its `__all__`, or those that it defines."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", [name for name in own if name[0] != "_" and name[0].islower()])
    return {name: value for name in names if callable(value := getattr(module, name))}


def public():
    """All public functions and classes, as `name` or `module.name`."""
    found = {}
    for name in darts_tf.__all__:
        value = getattr(darts_tf, name)
        found |= {f"{name}.{n}": v for n, v in offered(value).items()} if inspect.ismodule(value) else {name: value}
    found["report"] = products.report  # the packages that are functions, too
    return found | {name: getattr(products, name) for name in ("export", "protocol")}


PUBLIC = public()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The one folder of all examples: a run that several of them begin with is made once."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def fresh(folder, monkeypatch):
    """Operations that are as they were afterwards."""
    from darts_tf.spaces.conv import operations

    monkeypatch.chdir(folder)
    before = dict(operations.OPERATIONS)
    yield
    operations.OPERATIONS.clear()
    operations.OPERATIONS.update(before)


def example_of(name):
    """The example in a docstring."""
    text = inspect.getdoc(PUBLIC[name])
    assert text.count("Example:\n") == 1, f"{name} has no example in its docstring"
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    assert example.examples, f"the example of {name} has no >>> lines"
    return example


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != FIRST])
def test_the_example_of(name, fresh):
    example, lines = example_of(name), []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False).run(example, out=lines.append)
    assert not lines, "".join(lines)


def test_the_example_of_what_comes_first(tmp_path):
    *steps, last = example_of(FIRST).examples
    code = "".join(step.source for step in steps)
    assert python(f"{code}print(repr({last.source.strip()}))", tmp_path) == last.want
    with pytest.raises(UserError, match="comes too late: .* before anything uses TensorFlow"):
        darts_tf.configure(threads=3)


def test_an_example_that_is_wrong_is_found():
    example = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(example, out=lambda text: None).failed == 1
