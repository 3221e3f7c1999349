"""The settings of a run: dataclasses, checks, and JSON."""

from sagan_jax.config.checks import CHOICES, type_in_words, validate
from sagan_jax.config.fields import (
    SAME,
    Config,
    DataConfig,
    EvaluationConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)
from sagan_jax.config.json_form import differences, fields_of, from_json, to_json

__all__ = [
    "CHOICES",
    "SAME",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimConfig",
    "TrainConfig",
    "differences",
    "fields_of",
    "from_json",
    "to_json",
    "type_in_words",
    "validate",
]
