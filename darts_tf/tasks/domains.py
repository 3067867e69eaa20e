"""Maps a run to its domain."""

from collections.abc import Callable
from typing import Any

from darts_tf.bilevel.domain import Domain
from darts_tf.config import Config, SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.data.given import NAME
from darts_tf.system.errors import UserError
from darts_tf.tasks.images import SearchImages, TrainImages
from darts_tf.tasks.language import SearchText, TrainText

DOMAINS: dict[type[Config], Callable[..., Domain]] = {
    SearchConfig: SearchImages,
    TrainConfig: TrainImages,
    LanguageSearchConfig: SearchText,
    LanguageTrainConfig: TrainText,
}


def of(config: Config, data: Any = None) -> Domain:
    """Returns the domain of a run; its data are not read yet.

    Args:
        config: The settings of the run.
        data: Data passed from Python code with `dataset=memory`, see `load_memory` of `data.arrays.memory` for images
            and of `data.text.memory` for texts.
    """
    return next(domain for kind, domain in DOMAINS.items() if isinstance(config, kind))(config, data)


def given(config: Any, data: Any) -> Any:
    """Returns the settings of a run on data passed from Python code; unchanged if there are none.

    Raises:
        UserError: The settings also name other data.
    """
    if data is None:
        return config
    if config.data_dir:
        raise UserError(
            "The data are passed in, so the settings must not name others: expected data_dir=''. Received: "
            f"data_dir={config.data_dir}."
        )
    return config.replace(dataset=NAME)
