"""Random tiny weights in the same layout as the real ones: no download, milliseconds to make; all tests use them."""

from pathlib import Path

from model.towers.config import EfficientNetLiteConfig, StageConfig, WhisperConfig
from model.weights.store import TOKENIZER, WeightPaths, make_once, write_state

TINY_IMAGE = EfficientNetLiteConfig(
    stem_channels=8,
    stages=(
        StageConfig(repeats=1, kernel=3, stride=1, expansion=1, channels=8),
        StageConfig(repeats=2, kernel=5, stride=4, expansion=2, channels=12),
        StageConfig(repeats=1, kernel=3, stride=4, expansion=2, channels=16),
    ),
    head_channels=24,
)
TINY_AUDIO = WhisperConfig(width=16, layers=2, heads=2, feed_forward=32)
TINY_TEXT = {
    "vocab_size": 260,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}


def random_weights(directory: Path, *, seed: int = 0) -> WeightPaths:
    """Write tiny random weights under ``directory`` once and return their paths; the global random state is kept."""
    import torch

    fills = {"text": _text, "image": _image, "audio": _audio}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        paths = {part: make_once(directory / f"random-{part}-{seed}", fill) for part, fill in fills.items()}
    return WeightPaths(**paths)


def _text(directory: Path) -> None:
    from transformers import BertConfig, BertModel

    from model.weights.tokenizer import byte_tokenizer

    trunk = BertModel(BertConfig(**TINY_TEXT), add_pooling_layer=False)
    write_state(directory, trunk.state_dict(), {"model_type": "bert", **TINY_TEXT})
    byte_tokenizer().save(str(directory / TOKENIZER))


def _image(directory: Path) -> None:
    from torch import nn

    from model.towers.efficientnet_lite import EfficientNetLite

    tower = EfficientNetLite(TINY_IMAGE)
    for module in tower.modules():  # as after training, so that folding the norms changes something
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    write_state(directory, tower.state_dict(), TINY_IMAGE.model_dump(mode="json"))


def _audio(directory: Path) -> None:
    from model.towers.whisper import Whisper

    write_state(directory, Whisper(TINY_AUDIO).state_dict(), TINY_AUDIO.model_dump(mode="json"))
