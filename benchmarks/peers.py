"""sentence-transformers around the weights of a unified model, so that only the execution differs.

Shape legend: N contents, D dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.content import Content

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from model.training.config import StageConfig
    from model.unified.encoder import UnifiedEncoder


@dataclass(frozen=True)
class PeerBatching:
    """What the peer's cached loss embeds at a time: so many rows, or so many tokens where ``tokens`` is given."""

    rows: int
    tokens: int | None = None

    def __str__(self) -> str:
        return f"mini_batch_num_tokens={self.tokens}" if self.tokens else f"mini_batch_size={self.rows}"


def text_peer(encoder: "UnifiedEncoder", cache: Path) -> "SentenceTransformer":
    """Trunk, word embeddings, mean pooling and head of ``encoder`` as sentence-transformers' own modules."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    directory = cache / "text-peer"
    _write_transformers(encoder, directory)
    head = Dense(encoder.head.in_features, encoder.head.out_features, activation_function=nn.Identity())
    head.linear.load_state_dict(encoder.head.state_dict())
    trunk = Transformer(str(directory), max_seq_length=encoder.config.max_text_tokens + 2)
    return SentenceTransformer(modules=[trunk, Pooling(encoder.head.in_features), head, Normalize()], device="cpu")


def network_peer(encoder: "UnifiedEncoder") -> "SentenceTransformer":
    """Our whole network under sentence-transformers' ``encode``: batches of 32 in turn, each on all threads."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.input_module import InputModule

    class Network(InputModule):  # type: ignore[misc]
        """Any content through our own preprocessing and network, one padded batch at a time."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def preprocess(self, inputs: Sequence[Content], **_: Any) -> dict[str, Any]:
            return {"batch": self.encoder.preprocess(inputs)}

        def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
            vectors_ND: Tensor = self.encoder.finish(self.encoder.pool(features["batch"], packed=False))
            return {**features, "sentence_embedding": vectors_ND}

        def save(self, output_path: str, *_: Any, **__: Any) -> None:
            raise NotImplementedError(f"a benchmark peer is not written to {output_path}")

    return SentenceTransformer(modules=[Network()], device="cpu")


def _write_transformers(encoder: "UnifiedEncoder", directory: Path) -> None:
    """The text trunk with its word embeddings in fp32, as a checkpoint of transformers with a tokenizer."""
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    model = AutoModel.from_config(AutoConfig.for_model(**encoder.config.trunk))
    fits = model.state_dict()  # the word embeddings of our trunk live outside it, in the table
    own = {name: tensor for name, tensor in encoder.trunk.state_dict().items() if tensor.shape == fits[name].shape}
    model.load_state_dict(own, strict=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(encoder.table.weight)
    model.save_pretrained(directory)
    tokenizer = encoder.preprocessor.tokenizer
    padding = tokenizer.id_to_token(encoder.config.trunk.get("pad_token_id", 0))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=padding).save_pretrained(directory)


def train_peer(
    model: "SentenceTransformer",
    pairs: Sequence[tuple[str, str]],
    stage: "StageConfig",
    *,
    batching: PeerBatching,
    directory: Path,
    on_step: Callable[[float], None],
) -> None:
    """Train ``model`` with sentence-transformers' trainer as ``stage`` says; afterwards it has its old weights again.

    Args:
        model: whose word embeddings stay frozen; everything else learns, without dropout.
        pairs: of all steps in their order, as many a step.
        stage: steps, rate, schedule, decay, clipping, temperature and precision.
        batching: micro batches of the cached loss.
        directory: for the trainer's output.
        on_step: told the loss of each step at its end.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from torch.utils.data import SequentialSampler
    from transformers import PrinterCallback

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses: list[float] = []
    loss = _cached_loss(model, stage, batching)
    loss.register_forward_hook(lambda _module, _inputs, found: losses.append(float(found.detach())))
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(directory),
            max_steps=stage.steps,
            per_device_train_batch_size=len(pairs) // stage.steps,
            batch_sampler=lambda dataset, **given: _in_order(SequentialSampler(dataset), **given),
            max_grad_norm=stage.gradient_clip,
            bf16=stage.precision == "bf16-mixed",
            use_cpu=model.device.type != "cuda",
            dataloader_pin_memory=model.device.type == "cuda",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=stage.seed,
        ),
        train_dataset=Dataset.from_dict({"query": [q for q, _ in pairs], "document": [d for _, d in pairs]}),
        loss=loss,
        optimizers=_optimizers(model, stage),
        callbacks=[_each_step(lambda: on_step(losses[-1]))],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    model.load_state_dict(before)


def _cached_loss(model: "SentenceTransformer", stage: "StageConfig", batching: PeerBatching) -> nn.Module:
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    found: nn.Module = CachedMultipleNegativesRankingLoss(
        model,
        scale=1 / stage.temperature,
        mini_batch_size=batching.rows,
        mini_batch_num_tokens=batching.tokens,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )
    return found


def _optimizers(model: "SentenceTransformer", stage: "StageConfig") -> tuple[Any, Any]:
    """Our groups and schedule; the fused AdamW, which is the peer's own choice."""
    from model.training.schedule import parameter_groups, scheduled

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    (rate,) = set(stage.trainable.values())
    model[0].auto_model.get_input_embeddings().requires_grad_(False)
    rates = {name: rate for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.AdamW(parameter_groups(model, rates, stage.weight_decay), fused=True)
    return optimizer, scheduled(optimizer, "cosine", stage.warmup_steps, stage.steps)


def _in_order(sampler: Any, *, batch_size: int, drop_last: bool, **_: Any) -> Any:
    from sentence_transformers.base.sampler import DefaultBatchSampler

    return DefaultBatchSampler(sampler, batch_size=batch_size, drop_last=drop_last)


def _each_step(call: Callable[[], None]) -> Any:
    from transformers import TrainerCallback

    class EachStep(TrainerCallback):  # type: ignore[misc]
        """Calls at the end of every step."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            call()

    return EachStep()
