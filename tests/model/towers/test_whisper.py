import pytest
import torch

from model.errors import ContentError
from model.towers.config import WhisperConfig
from model.towers.whisper import Whisper

CONFIG = WhisperConfig(width=16, layers=2, heads=2, feed_forward=32, max_positions=100)


def pair() -> tuple[Whisper, torch.nn.Module]:
    """Our tower and transformers' encoder with the same random weights."""
    from transformers import WhisperConfig as TheirConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    theirs = WhisperEncoder(
        TheirConfig(
            d_model=16,
            encoder_layers=2,
            encoder_attention_heads=2,
            encoder_ffn_dim=32,
            num_mel_bins=80,
            max_source_positions=100,
        )
    ).eval()
    for parameter in theirs.parameters():  # biases and norms off their initial 0 and 1, attention off uniform
        torch.nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.3)
    ours = Whisper(CONFIG).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_equals_transformers_on_a_full_window() -> None:
    ours, theirs = pair()
    mel = torch.randn(3, 80, 200)
    with torch.inference_mode():
        expected, found = theirs(mel).last_hidden_state, ours(mel)
    assert found.shape == (3, 100, 16)
    assert expected.std(dim=1).min() > 0.05, "constant positions would agree with anything"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_comparison_sees_attention_and_positions() -> None:
    ours, _ = pair()
    mel = torch.randn(1, 80, 200)
    before = ours(mel)
    with torch.no_grad():
        ours.embed_positions.weight[[0, 50]] = ours.embed_positions.weight[[50, 0]].clone()
    after = ours(mel)
    assert (after[:, 99] - before[:, 99]).abs().max() > 1e-3


@pytest.mark.parametrize("frames", [2, 60, 200])
def test_any_even_window_works(frames: int) -> None:
    assert pair()[0](torch.randn(2, 80, frames)).shape == (2, frames // 2, 16)


@pytest.mark.parametrize("frames", [61, 202])
def test_other_windows_are_refused_with_the_rule(frames: int) -> None:
    with pytest.raises(ContentError, match="even number up to 200"):
        pair()[0](torch.randn(1, 80, frames))
