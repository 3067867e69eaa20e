"""Which domain a run is of."""

from darts_tf.config import Config, SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.tasks.domain import Domain
from darts_tf.tasks.images import SearchImages, TrainImages
from darts_tf.tasks.language import SearchText, TrainText

DOMAINS = {
    SearchConfig: SearchImages,
    TrainConfig: TrainImages,
    LanguageSearchConfig: SearchText,
    LanguageTrainConfig: TrainText,
}


def of(config: Config) -> Domain:
    """Returns the domain of a run; its data are not read yet."""
    return next(domain for kind, domain in DOMAINS.items() if isinstance(config, kind))(config)
