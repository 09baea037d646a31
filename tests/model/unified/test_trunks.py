"""Trunks: text through our table and trunk is what transformers makes of the same token ids."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

from model.content import Content
from model.errors import ConfigError
from model.pretrained import transformers_config
from model.unified.check import check_trunk
from model.unified.config import UnifiedConfig
from model.unified.encoder import UnifiedEncoder
from model.unified.trunk import POSITIONS_AFTER_PADDING, TokenTable, build_trunk, table_name
from model.weights.tokenizer import byte_tokenizer
from tests.model.trunks import COMMON, TINY_TRUNKS, shake

TEXTS = ["hello", "a longer text that leaves the window of eight tokens far behind", "so?"]


def pair(name: str) -> tuple[UnifiedEncoder, torch.nn.Module]:
    """Our text encoder and transformers' own model with the same weights, words in half precision in both."""
    theirs = shake(AutoModel.from_config(AutoConfig.for_model(**TINY_TRUNKS[name])))
    words = theirs.get_input_embeddings()
    words.weight.data = words.weight.data.half().float()
    ours = UnifiedEncoder(UnifiedConfig(trunk=TINY_TRUNKS[name], dimensions=(32,)), byte_tokenizer().to_str()).eval()
    ours.table.load_state_dict({"weight": words.weight.data.half()})
    state = {k: v for k, v in theirs.state_dict().items() if k != table_name(theirs)}
    assert ours.trunk.load_state_dict(state, strict=False).missing_keys == [table_name(ours.trunk)]
    return ours, theirs


@pytest.mark.parametrize("packed", [False, None], ids=["padded", "default"])
@pytest.mark.parametrize("name", sorted(TINY_TRUNKS))
def test_pooled_text_is_the_mean_of_transformers_states(name: str, packed: bool | None) -> None:
    ours, theirs = pair(name)
    batch = ours.preprocess([Content.of(text) for text in TEXTS])
    with torch.inference_mode():
        found = ours.pool(batch, packed=packed)
        alone = [torch.from_numpy(batch.token_ids_NL[i : i + 1, : batch.mask_NL[i].sum()]) for i in range(len(TEXTS))]
        expected = torch.cat([theirs(input_ids=ids).last_hidden_state.mean(1) for ids in alone])
    assert (expected[0] - expected[1]).abs().max() > 0.01, "equal vectors would agree with anything"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_gemma_scales_words_but_not_media() -> None:
    ours, theirs = pair("gemma3_text")
    ids = torch.tensor([[5, 6]])
    torch.testing.assert_close(ours.table(ids), theirs.get_input_embeddings()(ids))
    assert ours.table.scale == pytest.approx(32**0.5)
    assert TokenTable(4, 2).scale == 1


def test_a_gemma_document_means_the_same_window_each_time() -> None:
    """transformers halves the window when it makes the configuration; a stored document must not shrink with it."""
    document = dict(TINY_TRUNKS["gemma3_text"])
    first = transformers_config(document).sliding_window
    again = UnifiedConfig.parse(UnifiedConfig(trunk=document).model_dump_json()).trunk
    assert transformers_config(again).sliding_window == first == document["sliding_window"] // 2 + 1


@pytest.mark.parametrize("name", ["roberta", "xlm-roberta", "camembert", "mpnet"])
def test_positions_after_the_padding_id_are_kept(name: str) -> None:
    assert name in POSITIONS_AFTER_PADDING
    trunk = build_trunk({"model_type": name, **COMMON}, max_tokens=512)
    assert trunk.model.config.pad_token_id == 1
    assert trunk.model.get_input_embeddings().num_embeddings == 2
    assert trunk.table.num_embeddings == 260


def test_every_transformers_encoder_with_such_positions_is_listed() -> None:
    """Whatever counts positions from its padding id when it is handed embeddings must keep that id."""
    import importlib

    for name in sorted(POSITIONS_AFTER_PADDING):
        kind = type(AutoConfig.for_model(name))
        module = importlib.import_module(kind.__module__.replace("configuration_", "modeling_"))
        assert any(hasattr(v, "create_position_ids_from_inputs_embeds") for v in vars(module).values()), name


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({**COMMON}, "needs model_type"),
        ({"model_type": "t5"}, "not a text encoder"),
        ({"model_type": "vit"}, "not a text encoder"),
        ({"model_type": "bert", **COMMON, "is_decoder": True}, "not a text encoder"),
        ({"model_type": "bert", **COMMON, "max_position_embeddings": 100}, "the 100 positions of the 'bert' trunk"),
        ({"model_type": "xlm-roberta", **COMMON, "max_position_embeddings": 512}, "set limits.max_tokens to 510"),
    ],
)
def test_unsuitable_documents_are_refused(document: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        build_trunk(document, max_tokens=512)


def test_a_document_decides_neither_precision_nor_code() -> None:
    notes = {"dtype": "bfloat16", "torch_dtype": "float16", "auto_map": {"AutoModel": "evil.py"}, "use_cache": True}
    trunk = build_trunk({**TINY_TRUNKS["gemma3_text"], **notes}, max_tokens=512).model
    assert {p.dtype for p in trunk.parameters()} == {torch.float32}
    assert trunk.config.use_cache is False


def test_causal_trunks_are_refused() -> None:
    document = {**TINY_TRUNKS["gemma3_text"], "use_bidirectional_attention": False, "sliding_window": 64}
    theirs = shake(AutoModel.from_config(AutoConfig.for_model(**document)))
    ours = UnifiedEncoder(UnifiedConfig(trunk=document, dimensions=(32,)), byte_tokenizer().to_str()).eval()
    ours.trunk.load_state_dict({k: v for k, v in theirs.state_dict().items() if "embed" not in k}, strict=False)
    ours.table.load_state_dict({"weight": theirs.get_input_embeddings().weight.data.half()})
    with pytest.raises(ConfigError, match="does not see the last"):
        check_trunk(ours, theirs)


def test_a_trunk_that_does_something_else_to_words_is_refused() -> None:
    ours, theirs = pair("xlm-roberta")
    check_trunk(ours, theirs)
    ours.table.scale = 1.5
    with pytest.raises(ConfigError, match="choose another trunk"):
        check_trunk(ours, theirs)


def test_one_special_token_on_each_side_is_needed(tmp_path: Path) -> None:
    from tokenizers import processors

    from model.errors import ArtifactError

    tokenizer = byte_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    with pytest.raises(ArtifactError, match="one special token before a text and one after"):
        UnifiedEncoder(UnifiedConfig(trunk=TINY_TRUNKS["bert"], dimensions=(32,)), tokenizer.to_str())
