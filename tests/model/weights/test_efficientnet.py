import io

import pytest
import torch

from model.errors import ArtifactError
from model.towers.efficientnet_lite import EfficientNetLite
from model.weights.efficientnet import BLOCK, TOP, convert_efficientnet
from model.weights.random import TINY_IMAGE


def package_state(tower: EfficientNetLite) -> dict[str, torch.Tensor]:
    """The state dict of ``tower`` under the names of the package, classifier included."""
    state = {}
    for name, tensor in tower.state_dict().items():
        if name.startswith("blocks."):
            _, index, *module, leaf = name.split(".")
            theirs = {ours: their for their, ours in BLOCK.items()}[".".join(module)]
            state[f"_blocks.{index}.{theirs}.{leaf}"] = tensor
        else:
            module_name, _, leaf = name.rpartition(".")
            state[f"{({ours: their for their, ours in TOP.items()})[module_name]}.{leaf}"] = tensor
    return state | {"_fc.weight": torch.zeros(1000, 24), "_fc.bias": torch.zeros(1000)}


def saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_every_tensor_comes_back_under_our_name() -> None:
    tower = EfficientNetLite(TINY_IMAGE)
    state = convert_efficientnet(saved(package_state(tower)), TINY_IMAGE)
    assert state["classifier.weight"].shape == (1000, 24)
    for name, tensor in tower.state_dict().items():
        assert torch.equal(state[name], tensor), name


def test_missing_tensors_are_named() -> None:
    state = package_state(EfficientNetLite(TINY_IMAGE))
    del state["_blocks.1._depthwise_conv.weight"]
    with pytest.raises(ArtifactError, match=r"blocks\.1\.depthwise\.conv\.weight"):
        convert_efficientnet(saved(state), TINY_IMAGE)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code in a weights file ran')",)


def test_code_in_a_weights_file_does_not_run() -> None:
    with pytest.raises(ArtifactError, match="unreadable"):
        convert_efficientnet(saved({"_fc.bias": Evil()}), TINY_IMAGE)
