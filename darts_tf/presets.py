"""The lab book: settings by name, each with its source, its command, its cost and the result to expect.

No TensorFlow here.
"""

import dataclasses

from darts_tf.config import SearchConfig, suggest
from darts_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Preset:
    """One experiment, written down so that somebody else can repeat it.

    Attributes:
        name: What `--preset` takes.
        config: Every setting.
        source: Where the settings come from: a table of the paper, a flag of the original code.
        command: The command line that runs it.
        cost: Hardware and hours.
        expected: The result with its spread, and who measured it.
    """

    name: str
    config: SearchConfig
    source: str
    command: str
    cost: str
    expected: str


_CIFAR10 = SearchConfig()

# The digits are 8x8 grey images. No flip: digits are not mirror symmetric. A crop padded by 4 would lose half
# the image. The alphas' rate is ten times the paper's, since a run has 120 steps where the paper's has 19,550.
_DIGITS = SearchConfig(
    dataset="digits",
    split="stratified",
    crop_padding=1,
    flip=False,
    init_channels=8,
    num_cells=3,
    epochs=8,
    batch_size=48,
    arch_learning_rate=3e-3,
)

_PRESETS = (
    Preset(
        name="cifar10_search",
        config=_CIFAR10,
        source=(
            "arXiv:1806.09055 section 3.1.1 and Table 1, second order; where the paper and the original code differ, "
            "the code: `train_search.py --unrolled` (--learning_rate_min 0.001, alphas 1e-3 * normal, radius 0.01)"
        ),
        command="darts-search --preset=cifar10_search --workdir=runs/cifar10",
        cost="Table 1: 4 GPU-days for 4 seeds, that is 24 hours a run on a GTX 1080 Ti; not measured here",
        expected=(
            "paper: derived networks 2.76 +- 0.09 % test error (600 epochs, cutout, 10 seeds); "
            "supernet validation accuracy about 88-89 % at epoch 50, which is not the result of a search"
        ),
    ),
    Preset(
        name="cifar10_search_first_order",
        config=_CIFAR10.replace(order="first"),
        source="arXiv:1806.09055 Table 1, first order; `train_search.py` without --unrolled",
        command="darts-search --preset=cifar10_search_first_order --workdir=runs/cifar10_first_order",
        cost="Table 1: 1.5 GPU-days for 4 seeds, that is 9 hours a run on a GTX 1080 Ti; not measured here",
        expected="paper: derived networks 3.00 +- 0.14 % test error (600 epochs, cutout, 10 seeds)",
    ),
    Preset(
        name="digits_search",
        config=_DIGITS,
        source="ours: the CIFAR-10 search made small enough for two CPU cores; data from scikit-learn's load_digits",
        command="darts-search --preset=digits_search --workdir=runs/digits",
        cost="144 s of CPU time; 4 min 19 s on 2 CPU cores under a load of 4.5 (2026-11-24), not measured on idle ones",
        expected="supernet validation accuracy 98.0 %; normal cell of convolutions, the other of pools (seed 2)",
    ),
    Preset(
        name="smoke",
        config=_DIGITS.replace(init_channels=4, num_nodes=2, epochs=2, batch_size=8, max_train_examples=64),
        source="ours: the smallest run that passes through all code; its genotype means nothing",
        command="darts-search --preset=smoke --workdir=runs/smoke",
        cost="below 1 minute on 2 CPU cores, nearly all of it loading TensorFlow and building the graph (2026-11-24)",
        expected="none: 8 steps",
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _PRESETS}


def get(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UserError: There is none; names the closest and all there are.
    """
    if name not in PRESETS:
        raise UserError(
            f"There is no such preset; there are {', '.join(PRESETS)}. Received: preset={name!r}"
            + suggest(name, PRESETS)
        )
    return PRESETS[name]
