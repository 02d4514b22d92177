"""What an author writes: models, their options, and the handle of the running job. Needs no server."""

from longrun.models.file_annotations import Limits
from longrun.models.file_types import Audio, File, Image
from longrun.models.job import Job
from longrun.models.model import Model, model
from longrun.models.options import Batched, ModelOptions, Retry, batched
from longrun.models.registry import Registry, default_registry, isolated_registry
from longrun.models.spec import ModelSpec
from longrun.models.steps.chains import chain, fan_out
from longrun.models.target import HeavyImportWarning, load_target, models_beside

__all__ = [
    "Audio",
    "Batched",
    "File",
    "HeavyImportWarning",
    "Image",
    "Job",
    "Limits",
    "Model",
    "ModelOptions",
    "ModelSpec",
    "Registry",
    "Retry",
    "batched",
    "chain",
    "default_registry",
    "fan_out",
    "isolated_registry",
    "load_target",
    "model",
    "models_beside",
]
