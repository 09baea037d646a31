"""How processes train one stage together, as a strategy of Lightning: copies (DDP) or shards of the trunk (FSDP2)."""

import sys
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor
from torch.optim import Optimizer

from model.errors import ConfigError
from model.training.config import StageConfig
from model.training.families import TorchEncoder
from model.training.schedule import freeze_except
from model.training.sharding import TrunkShards, full, like
from model.training.world import World


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2 whose checkpoints are those of a single process: one file, whole tensors, names and numbers unchanged.

    Lightning's own are a directory whose metadata is pickled, or a file that numbers the optimizer's states in another
    way than the optimizer does; neither can be continued by DDP or by one process.
    """

    def __init__(self, processes: int) -> None:
        super().__init__(data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning restores it, through ``load_optimizer_state_dict``."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors of what learns, in the first process; the others help and get nothing."""
        module = self.lightning_module
        assert module is not None
        found = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                whole = full(parameter.detach())
                if self.is_global_zero:
                    found[name] = whole.cpu()
        return found

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """What the optimizer itself would say of whole tensors, in the first process."""
        document = getattr(optimizer, "_optimizer", optimizer).state_dict()
        states: dict[int, dict[str, Any]] = {}
        for number, state in document["state"].items():
            whole = {name: full(value) if isinstance(value, Tensor) else value for name, value in state.items()}
            if self.is_global_zero:
                states[number] = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in whole.items()}
        return {"state": states, "param_groups": document["param_groups"]}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """One file, written by the first process."""
        Strategy.save_checkpoint(self, checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """What a checkpoint of any strategy holds."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this process's part of each tensor."""
        module = self.lightning_module
        assert module is not None
        parameters = dict(module.named_parameters())
        parts = {name: like(value, parameters[name]) for name, value in checkpoint["state_dict"].items()}
        module.load_state_dict(parts, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of each state."""
        for optimizer, document in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            numbered = [p for group in optimizer.param_groups for p in group["params"]]
            states = {
                number: {
                    name: like(value, numbered[number]) if isinstance(value, Tensor) and value.ndim else value
                    for name, value in state.items()
                }
                for number, state in document["state"].items()
            }
            optimizer.load_state_dict({**document, "state": states})


def strategy_of(world: World, *, sharded: bool) -> Strategy | str:
    """The strategy for these processes."""
    if world.processes == 1:
        return "auto"
    return ShardedStrategy(world.processes) if sharded else DDPStrategy()


def shards_of(encoder: TorchEncoder, stage: StageConfig, world: World) -> TrunkShards | None:
    """What the processes share out in a stage; nothing where one trains alone or where the trunk does not learn.

    Raises:
        ConfigError: the encoder has no trunk that every content passes, or is trained by adapters.
    """
    if world.processes == 1:
        return None
    if stage.lora is not None:
        raise ConfigError(
            "launch.strategy=fsdp shares out weights that learn, of which lora leaves few: leave lora out, or use ddp"
        )
    shards = TrunkShards.of(encoder)
    if shards.learns(freeze_except(encoder, stage.trainable)):
        return shards
    if world.first:
        sys.stderr.write(f"{stage.kind}: nothing of the trunk learns, so each process keeps all of it (ddp)\n")
    return None
