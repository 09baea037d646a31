"""Tiny random configurations of transformers' own encoders, one of each type that is tested."""

from model.towers.config import SpectrogramConfig, VisionConfig, WaveformConfig

WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VIT = {**WIDTH, "image_size": 64, "patch_size": 16}
HALF = (0.5, 0.5, 0.5)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

TINY_VISION = {
    "siglip": VisionConfig(model={"model_type": "siglip_vision_model", **VIT}),
    "siglip2": VisionConfig(model={"model_type": "siglip2_vision_model", **WIDTH, "patch_size": 16, "num_patches": 16}),
    "dinov2": VisionConfig(model={"model_type": "dinov2", **VIT}, **IMAGENET),
    "dinov2_registers": VisionConfig(model={"model_type": "dinov2_with_registers", **VIT}, **IMAGENET),
    "dinov3": VisionConfig(model={"model_type": "dinov3_vit", **VIT, "num_register_tokens": 4}, **IMAGENET),
    "vit": VisionConfig(model={"model_type": "vit", **VIT}, mean=HALF, std=HALF),
    "deit": VisionConfig(model={"model_type": "deit", **VIT}, **IMAGENET),
    "clip": VisionConfig(model={"model_type": "clip_vision_model", **VIT}, **IMAGENET),
    "convnext": VisionConfig(
        model={"model_type": "convnext", "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}, **IMAGENET
    ),
    "swin": VisionConfig(
        model={
            "model_type": "swin",
            "image_size": 64,
            "patch_size": 4,
            "embed_dim": 8,
            "depths": [1, 1, 1],
            "num_heads": [2, 2, 2],
            "window_size": 4,
        },
        **IMAGENET,
    ),
}
WAVE = {
    **WIDTH,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
TINY_WAVEFORM = {
    "wav2vec2": WaveformConfig(model={"model_type": "wav2vec2", **WAVE}),
    "hubert": WaveformConfig(model={"model_type": "hubert", **WAVE}),
    "wavlm": WaveformConfig(model={"model_type": "wavlm", **WAVE}, normalise=False),
    "data2vec": WaveformConfig(model={"model_type": "data2vec-audio", **WAVE, "conv_pos_kernel_size": 5}),
}
TINY_SPECTROGRAM = SpectrogramConfig(
    model={"model_type": "audio-spectrogram-transformer", **WIDTH, "max_length": 256, "num_mel_bins": 128}
)
