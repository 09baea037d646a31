"""The Lightning module of a contrastive stage.

Shape legend: N queries, M documents, D dimensions.
"""

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from model.losses.contrastive import contrastive_loss
from model.training.batch import Pooled, Side, StepBatch
from model.training.config import StageConfig
from model.training.families import TorchEncoder
from model.training.schedule import freeze_except, parameter_groups, warmup_cosine
from model.unified.encoder import UnifiedEncoder


class ContrastiveModule(lightning.LightningModule):
    """Trains the parts of an encoder that the stage names.

    Checkpoints hold trainable weights only: the frozen rest comes from the artifact that the stage started from.
    """

    def __init__(self, encoder: TorchEncoder, stage: StageConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.stage = stage
        self.dimensions = stage.dimensions or encoder.dimensions
        self.rates = freeze_except(encoder, stage.trainable)
        self.strict_loading = False  # frozen weights are absent from checkpoints on purpose

    def training_step(self, batch: StepBatch, _: int) -> Tensor:
        """Loss of one task's batch; dropout depends on (seed, step) alone, so a resumed run repeats it."""
        torch.manual_seed(self.stage.seed * 1_000_003 + batch.step)
        query_ND, document_MD = self.embed(batch.query), self.embed(batch.document)
        parts = contrastive_loss(
            query_ND,
            document_MD,
            batch.pairing,
            batch.task.loss or self.stage.loss,
            temperature=batch.task.temperature or self.stage.temperature,
            dimensions=self.dimensions,
        )
        self._report(batch, parts)
        return parts["loss"]

    def embed(self, side: Side) -> Tensor:
        """Unit vectors of one side."""
        if isinstance(side, Pooled):
            assert isinstance(self.encoder, UnifiedEncoder)  # no other has a trunk to pool
            return self.encoder.finish(torch.from_numpy(side.states_NH).to(self.device))
        found: Tensor = self.encoder(side)
        return found

    def _report(self, batch: StepBatch, parts: dict[str, Tensor]) -> None:
        size = len(batch.pairing.query_key_N)
        self.log_dict({f"{batch.task.name}/{name}": value.detach() for name, value in parts.items()}, batch_size=size)
        self.log("loss", parts["loss"].detach(), batch_size=size)

    def on_train_start(self) -> None:
        """Keep frozen parts in evaluation mode: no dropout and no statistics where nothing learns.

        Not at the start of the epoch: that hook is skipped when a run resumes in the middle of one.
        """
        self.encoder.train()
        for module in self.encoder.modules():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()

    def configure_optimizers(self) -> Any:
        """AdamW with one group per learning rate and decay setting, linear warm-up then cosine to zero."""
        optimizer = torch.optim.AdamW(parameter_groups(self.encoder, self.rates, self.stage.weight_decay))
        scheduler = warmup_cosine(optimizer, self.stage.warmup_steps, self.stage.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep only what learns."""
        trainable = {f"encoder.{name}" for name in self.rates}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trainable}

    def transfer_batch_to_device(self, batch: StepBatch, device: torch.device, dataloader_idx: int) -> StepBatch:
        """Batches are numpy; the encoder moves what it needs."""
        return batch


def trainable_state(encoder: nn.Module) -> dict[str, Tensor]:
    """Copy of every parameter that learns, by name; adapters as the weights that they will be merged into."""
    merged = encoder.merged_state() if hasattr(encoder, "merged_state") else {}
    return merged | {
        name: p.detach().cpu().clone()
        for name, p in encoder.named_parameters()
        if p.requires_grad and ".lora_" not in name
    }
