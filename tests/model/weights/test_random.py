from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.weights.load import load_image_tower, load_speech_tower, load_text_trunk, load_tokenizer
from model.weights.random import random_weights
from model.weights.store import WeightPaths, load_state
from model.weights.tokenizer import byte_tokenizer

TOKENIZER = byte_tokenizer()


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> WeightPaths:
    return random_weights(tmp_path_factory.mktemp("random"))


def test_every_part_loads_and_runs(paths: WeightPaths) -> None:
    ids = torch.tensor([load_tokenizer(paths.text).encode("query: a cat").ids])
    with torch.inference_mode():
        assert load_text_trunk(paths.text)(input_ids=ids).last_hidden_state.shape == (1, ids.shape[1], 32)
        assert load_image_tower(paths.image)(torch.zeros(1, 3, 64, 64)).shape == (1, 24, 2, 2)
        assert load_speech_tower(paths.audio)(torch.zeros(1, 80, 40)).shape == (1, 20, 16)


def test_the_seed_decides_and_the_global_state_is_kept(tmp_path: Path, paths: WeightPaths) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    same, other = random_weights(tmp_path / "a"), random_weights(tmp_path / "b", seed=1)
    assert torch.equal(torch.rand(1), expected)
    for part in ("text", "image", "audio"):
        first = load_state(getattr(paths, part))
        again, differs = load_state(getattr(same, part)), load_state(getattr(other, part))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], differs[name]) for name in first)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_encodes_without_unknowns_and_comes_back(text: str) -> None:
    tokenizer = TOKENIZER
    for special in ("<s>", "<pad>", "</s>", "<unk>"):
        text = text.replace(special, "")
    ids = tokenizer.encode(text).ids
    assert ids[0] == 0
    assert ids[-1] == 2
    assert 3 not in ids
    assert max(ids) < 260
    assert tokenizer.decode(ids) == text
