"""What holds for every method: both Hessian-vector products are one, and a batch in parts is the whole batch."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bilevel.architect import Architect
from darts_tf.bilevel.objective import values
from darts_tf.methods.p_darts import DroppedSkips
from darts_tf.tasks import images
from tests.helpers import draws
from tests.helpers.cases import METHODS, search_of
from tests.helpers.steps import array

FEW = "none", "skip_connect", "dil_conv_3x3"
pytestmark = pytest.mark.usefixtures("float64")


def eager(method, order, **changes):
    """A step without graphs, which take longer to build than a single step does, and its arguments."""
    step, arguments = search_of("conv", method, order, primitives=FEW, batch_size=4, **changes)
    step.functions.trace = lambda function: function
    return step, arguments


# Orders


@pytest.mark.parametrize("method", METHODS)
def test_the_finite_difference_of_a_tiny_radius_is_the_exact_product(method):
    """So close to w no ReLU and no max pool switches, and nothing that is drawn may differ from pass to pass.

    A sampled operation too has one gradient of the alphas, that of the soft sample: it is a function of the draw.
    """
    step, (train, valid, number, rate, epoch) = eager(method, "exact")
    if not step.method.moves_alphas:
        pytest.skip("does not move the alphas")
    functions, seeds = step.functions, step.domain.seeds(number)
    noise = step.method.noise(functions.named(values(functions.arch.values())), seeds[0], epoch)
    batches = step.domain.batch(train, seeds[0]), step.domain.batch(valid, seeds[1], held_out=True)

    def gradient(*settings):
        architect = Architect(functions, step.architect.virtual_step, None, *settings)
        return np.concatenate([np.ravel(each) for each in architect.gradient(*batches, rate, None, noise)[1]])

    exact = gradient("second", "exact")
    size = np.linalg.norm(exact)
    assert np.linalg.norm(gradient("second", "finite_difference", 1e-6) - exact) < 1e-7 * size
    assert np.linalg.norm(gradient("first") - exact) > 0.05 * size  # else the product would be too small to tell


# Parts


def halves(piece):
    """Images whose halves are the same: batch norm then sees in each what it sees in the whole."""
    return [tf.concat([part[: len(part) // 2]] * 2, 0) for part in piece]


@pytest.mark.parametrize("method", METHODS)
def test_parts_of_equal_statistics_are_exact(method, monkeypatch):
    monkeypatch.setattr(images, "draw_keys", draws.equal_keys)
    monkeypatch.setattr(DroppedSkips, "factors", draws.tiled(4, 2))
    found = []
    for accumulate in (1, 2):
        step, (train, valid, *others) = eager(method, "first", accumulate=accumulate)
        report = step(halves(train), halves(valid), *others)
        found.append([*map(array, (*step.functions.arch.values(), *step.supernet.weight_variables))])
        found[-1] += [report[name] for name in sorted({"loss", "valid_loss", "logits", "gradient_norm"} & {*report})]
    for whole, parts in zip(*found, strict=True):
        np.testing.assert_allclose(parts, whole, rtol=1e-7, atol=1e-9)
