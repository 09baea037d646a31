"""Tiny random models of every type, as the library itself would have saved them."""

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from model.sentence_transformer.processors import KeptVideoProcessor, processors_loadable
from model.weights.tokenizer import byte_tokenizer

MEDIA_TOKENS = {
    "image_token": "<img>",
    "boi_token": "<boi>",
    "eoi_token": "<eoi>",
    "audio_token": "<aud>",
    "boa_token": "<boa>",
    "eoa_token": "<eoa>",
}
GEMMA_TEMPLATE = (
    "{% for m in messages %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<img>{% elif c.type == 'audio' %}<aud>{% elif c.type == 'video' %}<|video|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}"
)
QWEN_TOKENS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)


def tokenizer(extra: tuple[str, ...] = (), length: int = 512, **named: str) -> PreTrainedTokenizerFast:
    """Bytes as tokens, with the special tokens of a model."""
    built = byte_tokenizer()
    built.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*extra, *named.values())])
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=length,
        extra_special_tokens=named or None,
    )


def text(directory: Path) -> Path:
    """A BERT with mean pooling."""
    from transformers import BertConfig, BertModel

    settings = BertConfig(
        vocab_size=260,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        pad_token_id=1,
    )
    BertModel(settings).save_pretrained(directory)
    tokenizer(length=128).save_pretrained(directory)
    return directory


def siglip(directory: Path) -> Path:
    """SigLIP: two towers, one vector each."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings = SiglipConfig(
        text_config={
            **sizes,
            "vocab_size": 260,
            "max_position_embeddings": 64,
            "projection_size": 32,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
    )
    model = SiglipModel(settings)
    with torch.no_grad():  # its attention pooling starts without a spread
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    processor = SiglipProcessor(SiglipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer(length=64))
    processor.save_pretrained(directory)
    return directory


def gemma2(directory: Path) -> Path:
    """EmbeddingGemma 2 with both towers and a chat template."""
    from transformers import (
        EmbeddingGemma2Config,
        EmbeddingGemma2Model,
        EmbeddingGemma2Processor,
        Gemma4AudioFeatureExtractor,
        Gemma4ImageProcessorPil,
    )

    named = tokenizer(("<|video|>",), **MEDIA_TOKENS)
    ids = {name: named.convert_tokens_to_ids(token) for name, token in MEDIA_TOKENS.items()}
    layers = ["sliding_attention", "full_attention"]
    settings = EmbeddingGemma2Config(
        text_config={
            "vocab_size": len(named),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "global_head_dim": 32,
            "layer_types": layers,
            "sliding_window": 16,
            "hidden_size_per_layer_input": 16,
            "embedding_dim": 48,
            "max_position_embeddings": 4096,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
        vision_config={
            "model_type": "gemma4_vision",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "patch_size": 8,
            "pooling_kernel_size": 2,
            "position_embedding_size": 64,
            "default_output_length": 70,
        },
        audio_config={
            "model_type": "gemma4_audio",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "output_proj_dims": 32,
            "subsampling_conv_channels": [128, 4],
        },
        image_token_id=ids["image_token"],
        boi_token_id=ids["boi_token"],
        eoi_token_id=ids["eoi_token"],
        audio_token_id=ids["audio_token"],
        boa_token_id=ids["boa_token"],
        eoa_token_index=ids["eoa_token"],
        video_token_id=named.convert_tokens_to_ids("<|video|>"),
    )
    model = EmbeddingGemma2Model(settings)
    model.save_pretrained(directory)
    processor = EmbeddingGemma2Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(),
        image_processor=Gemma4ImageProcessorPil(patch_size=8, pooling_kernel_size=2, max_soft_tokens=70),
        tokenizer=named,
        video_processor=_video(
            "EmbeddingGemma2VideoProcessor", patch_size=8, pooling_kernel_size=2, max_soft_tokens=70
        ),
        chat_template=GEMMA_TEMPLATE,
        image_seq_length=70,
    )
    processor.save_pretrained(directory)
    return directory


def qwen3_vl(directory: Path) -> Path:
    """Qwen3-VL, causal, with a vision tower."""
    from transformers import Qwen2VLImageProcessorPil, Qwen3VLConfig, Qwen3VLModel, Qwen3VLProcessor

    words = tokenizer(QWEN_TOKENS)
    ids = {token: words.convert_tokens_to_ids(token) for token in QWEN_TOKENS}
    settings = Qwen3VLConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0},
            "pad_token_id": 1,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    Qwen3VLModel(settings).save_pretrained(directory)
    sizes = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessorPil(**sizes, min_pixels=256, max_pixels=4096),
        tokenizer=words,
        video_processor=_video("Qwen3VLVideoProcessor", **sizes),
        chat_template=QWEN_TEMPLATE,
    )
    processor.save_pretrained(directory)
    return directory


def _video(name: str, **settings: object) -> object:
    """The video processor, or without torchvision its settings alone."""
    import transformers
    from transformers.utils import is_torchvision_available

    if is_torchvision_available():
        return getattr(transformers, name)(**settings)
    return KeptVideoProcessor({"video_processor_type": name, **settings})


MAKERS: dict[str, Callable[[Path], Path]] = {"text": text, "siglip": siglip, "gemma2": gemma2, "qwen3_vl": qwen3_vl}


def make(name: str, directory: Path) -> Path:
    """The model of that name, with pooling as the library adds it; the global random state is kept."""
    with torch.random.fork_rng(devices=[]), processors_loadable():
        torch.manual_seed(0)
        return MAKERS[name](directory)
