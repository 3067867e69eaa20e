"""The experiments as data: one flat, frozen dataclass each, with one field per flag."""

from darts_tf.config.fields import Config, suggest
from darts_tf.config.images import ImageRun, SearchConfig, TrainConfig
from darts_tf.config.run import Run, Search

__all__ = ["Config", "ImageRun", "Run", "Search", "SearchConfig", "TrainConfig", "suggest"]
