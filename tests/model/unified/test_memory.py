"""A text-only load costs what the text trunk alone costs, measured in processes of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

MEASURE = """
import gc, sys
from pathlib import Path
import numpy as np, psutil, torch, transformers.models.bert.modeling_bert
import model.towers.efficientnet_lite, model.towers.whisper, model.unified.encoder
from model.artifact import load_encoder
from model.content import Content, Modality
from model.encoding import run_batch

torch.set_num_threads(1)
def resident():
    gc.collect()
    return psutil.Process().memory_full_info().uss

artifact, only, out = sys.argv[1:]
before = resident()
encoder = load_encoder(Path(artifact), modalities=frozenset({Modality.TEXT}) if only == "text" else None)
vectors = run_batch(encoder, [Content.of("a red fox"), Content.of("rain on the sea")])
print(resident() - before)
np.save(out, vectors)
"""


def build(home: Path) -> tuple[Path, Path]:
    """One artifact with towers and one of its trunk alone, large enough to be seen in the memory of a process."""
    import torch

    from model.towers.config import EfficientNetLiteConfig, WhisperConfig
    from model.unified.config import UnifiedConfig
    from model.unified.encoder import UnifiedEncoder
    from model.weights.tokenizer import byte_tokenizer

    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 1536}
    trunk = {"model_type": "bert", "vocab_size": 100_000, "max_position_embeddings": 512, **shape}
    towers = {
        "image_tower": EfficientNetLiteConfig(fused=True),
        "audio_tower": WhisperConfig(width=512, layers=6, heads=8, feed_forward=2048),
    }
    torch.manual_seed(0)
    both = UnifiedEncoder(UnifiedConfig(trunk=trunk, **towers), byte_tokenizer().to_str()).eval()
    alone = UnifiedEncoder(UnifiedConfig(trunk=trunk), byte_tokenizer().to_str()).eval()
    alone.load_state_dict(both.state_dict(), strict=False)
    both.save(home / "both")
    alone.save(home / "alone")
    return home / "both", home / "alone"


def measure(artifact: Path, only: str, out: Path) -> tuple[int, np.ndarray]:
    command = [sys.executable, "-c", MEASURE, str(artifact), only, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    return int(done.stdout), np.load(out)


@pytest.mark.minutes
@pytest.mark.slow
def test_a_text_only_load_costs_what_the_trunk_alone_costs(tmp_path: Path) -> None:
    both, alone = build(tmp_path)
    everything, vectors_ND = measure(both, "all", tmp_path / "all.npy")
    text, text_ND = measure(both, "text", tmp_path / "text.npy")
    trunk, trunk_ND = measure(alone, "all", tmp_path / "alone.npy")
    assert text <= 1.05 * trunk, f"{text / 1e6:.1f} MB against {trunk / 1e6:.1f} MB"
    assert everything > 1.5 * trunk, "the towers are large enough for the test to fail"
    np.testing.assert_array_equal(text_ND, trunk_ND)
    np.testing.assert_array_equal(text_ND, vectors_ND)
