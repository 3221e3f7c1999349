"""The settings of a run: dataclasses, checks, and JSON."""

from sagan_jax.config.averages import evaluated_decay
from sagan_jax.config.checks import CHOICES, type_in_words, validate
from sagan_jax.config.fields import (
    SAME,
    Config,
    DataConfig,
    EvaluationConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    RegularizerConfig,
    TrainConfig,
)
from sagan_jax.config.json_form import differences, fields_of, from_json, to_json
from sagan_jax.config.sweep import Sweep, Verdict, shrink_sweep

__all__ = [
    "CHOICES",
    "SAME",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimConfig",
    "RegularizerConfig",
    "Sweep",
    "TrainConfig",
    "Verdict",
    "differences",
    "evaluated_decay",
    "fields_of",
    "from_json",
    "shrink_sweep",
    "to_json",
    "type_in_words",
    "validate",
]
