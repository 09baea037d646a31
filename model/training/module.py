"""The Lightning module of a training stage.

Shape legend: N queries, M documents, D dimensions.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from model.losses.cache import backward_in_pieces
from model.losses.contrastive import contrastive_loss
from model.losses.distill import distill_loss
from model.losses.gather import processes, rank
from model.sentence_transformer.encoder import SentenceTransformerEncoder
from model.training.batch import Pooled, Side, StepBatch
from model.training.config import StageConfig, TaskConfig
from model.training.dropout import set_dropout
from model.training.ema import Ema
from model.training.exchange import average_whole, clip_sharded, drop_unused
from model.training.families import TorchEncoder
from model.training.idle import EvenPieces, embed_evenly
from model.training.parts import materialised, several
from model.training.pieces import lazy_pieces, runs_of
from model.training.recompute import checkpoint_activations, keep_recomputing, stop_recomputing
from model.training.schedule import freeze_except, parameter_groups, scheduled
from model.training.sharding import TrunkShards, full
from model.unified.encoder import UnifiedEncoder

SEEDS_OF_A_PROCESS = 2**40  # more than all steps of all stages have


class ContrastiveModule(lightning.LightningModule):
    """Trains the parts of an encoder that the stage names.

    Checkpoints hold trainable weights only: the frozen rest comes from the artifact that the stage started from. With
    ``ema`` they hold the averages as well, and after the stage the encoder has these.

    Args:
        encoder: to train.
        stage: what to do.
        shards: part of the encoder that the processes share out among them; each holds all of it when empty.

    Attributes:
        parts: loss of the last step and its parts, for the callbacks.
        embeddings: queries [N, D] and documents [M, D] of the last step.
    """

    def __init__(self, encoder: TorchEncoder, stage: StageConfig, shards: TrunkShards | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.shards = shards
        self.stage = stage
        self.dimensions = stage.dimensions or encoder.dimensions
        self.rates = freeze_except(encoder, stage.trainable)
        learned = [task for task in stage.tasks if stage.loss_of(task).temperature_rate is not None]
        self.temperatures = nn.ParameterDict(  # logarithms
            {task.name: torch.tensor(math.log(task.temperature or stage.temperature)) for task in learned}
        )
        self.parts: dict[str, Tensor] = {}
        self.embeddings: tuple[Tensor, Tensor] | None = None
        self.ema: Ema | None = None
        self._saved_ema: dict[str, Any] | None = None
        if stage.dropout is not None:
            set_dropout(encoder, stage.dropout)
        if stage.activation_checkpointing:
            checkpoint_activations(encoder)
        self.strict_loading = False  # frozen weights are absent from checkpoints on purpose

    def configure_model(self) -> None:
        """Share the trunk out, where it is wanted; the strategy has made the mesh of processes by now."""
        if self.shards is not None and self.device_mesh is not None:
            self.shards.apply(self.device_mesh["data_parallel"])

    def training_step(self, batch: StepBatch, _: int) -> Tensor:
        """Loss of one task's batch; dropout depends on (seed, step, process) alone, so a resumed run repeats it."""
        if not several((batch.query, batch.document)):
            batch = materialised(batch)
        torch.manual_seed(self.stage.seed * 1_000_003 + batch.step + rank() * SEEDS_OF_A_PROCESS)
        if self.stage.micro_batch_tokens is None:
            query_ND, document_MD = (self._embed_whole(side) for side in (batch.query, batch.document))
            return self._reach_all(self.loss(batch, query_ND, document_MD)["loss"])
        loss = self._backward_in_pieces(batch, self.stage.micro_batch_tokens)["loss"]
        return self._reach_all(loss.clone().requires_grad_())  # Lightning's own backward then changes no gradient

    def loss(self, batch: StepBatch, query_ND: Tensor, document_MD: Tensor) -> dict[str, Tensor]:
        """Loss and its parts, from embeddings."""
        temperature = self.temperature(batch.task)
        learned = {"temperature": temperature} if isinstance(temperature, Tensor) else {}
        teacher = self.stage.teacher
        parts: dict[str, Tensor] = {}
        if teacher is None or teacher.loss.contrastive:
            parts = contrastive_loss(
                query_ND,
                document_MD,
                batch.pairing,
                self.stage.loss_of(batch.task),
                temperature=temperature,
                dimensions=self.dimensions,
            )
        if teacher is not None:
            parts = self._distilled(batch, query_ND, document_MD, parts)
        self.parts = {name: value.detach() for name, value in {**parts, **learned}.items()}
        self.embeddings = (query_ND.detach(), document_MD.detach())
        return parts

    def _distilled(
        self, batch: StepBatch, query_ND: Tensor, document_MD: Tensor, contrastive: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The teacher's parts, and the contrastive ones by their weight."""
        assert self.stage.teacher is not None
        assert batch.teacher is not None
        teacher = [torch.from_numpy(rows).to(query_ND.device) for rows in batch.teacher.sides]
        config = self.stage.teacher.loss
        parts = distill_loss(
            (query_ND, document_MD),
            (teacher[0], teacher[1]),
            config,
            dimensions=self.dimensions,
            teacher_dimensions=batch.teacher.dimensions,
        )
        if not contrastive:
            return parts
        loss = parts["loss"] + config.contrastive * contrastive["loss"]
        return {**contrastive, **parts, "contrastive": contrastive["loss"], "loss": loss}

    def temperature(self, task: TaskConfig) -> float | Tensor:
        """Temperature of a task; a learned one stays within 0.01 and 1."""
        if task.name in self.temperatures:
            learned: Tensor = self.temperatures[task.name].exp().clamp(0.01, 1.0)
            return learned
        return task.temperature or self.stage.temperature

    def _backward_in_pieces(self, batch: StepBatch, budget: int) -> dict[str, Tensor]:
        """Gradients of the whole batch into ``.grad``, with the activations of few contents at a time."""
        self.zero_grad(set_to_none=True)
        sides = [lazy_pieces(side, budget, self.embed) for side in (batch.query, batch.document)]
        loss = partial(self.loss, batch)
        if self.shards is not None:  # every process goes through the trunk as often as the others, in the same order
            even = [EvenPieces(partial(runs_of, pieces), self.device) for pieces in sides]
            return backward_in_pieces(even, loss, self.device)
        keep = 0 if several((batch.query, batch.document)) else budget  # what is kept has to be there
        return backward_in_pieces(sides, loss, self.device, keep=keep)

    def _reach_all(self, loss: Tensor) -> Tensor:
        """The same loss; going backward from it reaches each parameter where several processes train together.

        They exchange gradients when each parameter has been reached, and would wait for ever for one that this
        process's share of the batch does not use, such as the projector of a modality that is not in it.
        """
        if processes() == 1 or self.shards is not None:  # shards have an exchange of their own
            return loss
        zeros = [p.sum() * 0 for p in self.parameters() if p.requires_grad]
        return loss + torch.stack([zero.to(loss) for zero in zeros]).sum()

    def on_after_backward(self) -> None:
        """Where processes train together: parameters that no share of the batch used have no gradient, as in one."""
        if processes() == 1:
            return
        if self.shards is not None:
            average_whole(self.parameters())
        drop_unused(self.parameters())

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm of all gradients."""
        if self.shards is None or gradient_clip_val is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            clip_sharded(self.parameters(), gradient_clip_val)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        """Lightning clears gradients between ``training_step`` and backward; those made in pieces are there by then."""
        if self.stage.micro_batch_tokens is None:
            optimizer.zero_grad(set_to_none=True)

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """One step of the optimizer, and one of the averages."""
        super().optimizer_step(*args, **options)
        if self.ema is not None:
            self.ema.update()

    def embed(self, side: Side) -> Tensor:
        """Unit vectors of one side."""
        if isinstance(side, Pooled):
            assert isinstance(self.encoder, UnifiedEncoder)  # no other has a trunk to pool
            return self.encoder.finish(torch.from_numpy(side.states_NH).to(self.device))
        found: Tensor = self.encoder(side)
        return found

    def _embed_whole(self, side: Side) -> Tensor:
        return self.embed(side) if self.shards is None else embed_evenly(self.embed, side, self.device)

    def on_train_start(self) -> None:
        """Keep frozen parts in evaluation mode: no dropout and no statistics where nothing learns.

        Not at the start of the epoch: that hook is skipped when a run resumes in the middle of one.
        """
        self.encoder.train()
        for module in self.encoder.modules():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()
        if self.stage.activation_checkpointing:
            keep_recomputing(self.encoder)
        self._start_ema()

    def on_fit_end(self) -> None:
        """The encoder ends with the averages, also where a stage was resumed after its last step."""
        self._start_ema()
        if self.ema is not None:
            self.ema.apply()
        if self.stage.activation_checkpointing:
            stop_recomputing(self.encoder)

    def _start_ema(self) -> None:
        if self.stage.ema is None or self.ema is not None:
            return
        self.ema = Ema({n: p for n, p in self.encoder.named_parameters() if n in self.rates}, self.stage.ema)
        if self._saved_ema is not None:
            self.ema.restore(self._saved_ema)

    @contextmanager
    def as_handed_on(self) -> Iterator[None]:
        """The weights as they would be were this the last step: with ``ema``, the averages."""
        if self.ema is None:
            yield
        else:
            with self.ema.applied():
                yield

    def configure_optimizers(self) -> Any:
        """AdamW with one group per learning rate and decay setting, and the stage's schedule."""
        stage = self.stage
        groups = parameter_groups(self.encoder, self.rates, stage.weight_decay)
        for task in self.stage.tasks:
            if task.name in self.temperatures:
                rate = self.stage.loss_of(task).temperature_rate
                groups.append({"params": [self.temperatures[task.name]], "lr": rate, "weight_decay": 0.0})
        optimizer = torch.optim.AdamW(groups, betas=stage.adamw.betas, eps=stage.adamw.eps)
        ends = {"final": stage.final_rate, "decay_share": stage.decay_share}
        scheduler = scheduled(optimizer, stage.schedule, stage.warmup_steps, stage.steps, **ends)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep only what learns."""
        trainable = {f"encoder.{name}" for name in self.rates} | {f"temperatures.{name}" for name in self.temperatures}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trainable}
        if self.ema is not None:
            checkpoint["ema"] = self.ema.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the averages until the weights are where they are trained."""
        self._saved_ema = checkpoint.get("ema")

    def transfer_batch_to_device(self, batch: StepBatch, device: torch.device, dataloader_idx: int) -> StepBatch:
        """Batches are numpy; the encoder moves what it needs."""
        return batch


def trainable_state(encoder: nn.Module) -> dict[str, Tensor]:
    """Copy of every parameter that learns, by name; adapters as the weights that they will be merged into.

    Where the encoder is sharded all processes have to call this.
    """
    merged = encoder.merged_state() if isinstance(encoder, SentenceTransformerEncoder) else {}
    return {name: full(tensor) for name, tensor in merged.items()} | {
        name: full(p.detach()).cpu().clone()
        for name, p in encoder.named_parameters()
        if p.requires_grad and ".lora_" not in name
    }
