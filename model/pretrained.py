"""Bare transformers models from a configuration document: built in, never code from a hub; fp32; no pooling head."""

import inspect
from typing import TYPE_CHECKING, Any

from model.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Notes of whoever saved the model; a precision or code reference among them must not decide how it runs here.
IGNORED = ("architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "_name_or_path")
# Training-time masking and cache of generation have no place in an encoder.
OVERRIDES: dict[str, Any] = {
    "use_cache": False,
    "vision_use_head": False,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
}


def clean_document(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a ``config.json`` what says nothing of the model's form."""
    return {name: value for name, value in document.items() if name not in IGNORED}


def transformers_config(document: dict[str, Any]) -> "PreTrainedConfig":
    """Make a transformers configuration from the content of a ``config.json``.

    Raises:
        ConfigError: ``model_type`` is missing or unknown to the installed transformers, or a field is impossible.
    """
    from transformers import AutoConfig

    fields = clean_document(document)
    model_type = fields.pop("model_type", None)
    if model_type is None:
        raise ConfigError("a transformers configuration needs model_type, such as 'bert' or 'siglip_vision_model'")
    try:
        config = AutoConfig.for_model(model_type, **fields)
    except Exception as error:  # transformers validates with errors of several libraries
        raise ConfigError(f"transformers cannot make a {model_type!r} configuration: {error}") from error
    for name, value in OVERRIDES.items():
        if hasattr(config, name):
            setattr(config, name, value)
    return config


def model_class(config: "PreTrainedConfig") -> "type[PreTrainedModel]":
    """Class of the bare model for ``config``.

    Raises:
        ConfigError: transformers has none.
    """
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    try:
        found: type[PreTrainedModel] = MODEL_MAPPING[type(config)]
    except KeyError:
        raise ConfigError(f"transformers has no bare model for {config.model_type!r}") from None
    return found


def model_arguments(config: "PreTrainedConfig") -> dict[str, Any]:
    """Arguments that leave out the pooling layer, for the models that take them."""
    accepted = inspect.signature(model_class(config).__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


def bare_model(config: "PreTrainedConfig", *, attention: str | None = None) -> "PreTrainedModel":
    """Build the model of ``config`` with random weights, in fp32.

    ``attention`` is the name of an attention implementation; without one, and for ``sdpa``, transformers takes the
    best that the model supports.
    """
    import torch
    from transformers import AutoModel

    chosen = {} if attention in (None, "sdpa") else {"attn_implementation": attention}
    model: PreTrainedModel = AutoModel.from_config(config, dtype=torch.float32, **chosen, **model_arguments(config))
    return model
