"""Hugging Face's Trainer, which goes on in mid-epoch from its last checkpoint where it was killed.

python examples/hf_trainer.py data/train data/val --output run        # kill it, start it again
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import default_collate
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import dali_mixup as dm
from dali_mixup.pipelines import imagenet


class MixUpTrainer(Trainer):
    """Which trains on a Loader, and evaluates as ever."""

    def __init__(self, *arguments: Any, loader: dm.Loader, **options: Any):
        super().__init__(*arguments, callbacks=[KeepPlace(loader)], **options)
        self.loader = loader

    def get_train_dataloader(self) -> Any:
        """The Loader as it is."""
        return self.loader

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """Of (images, targets) in training, of a dict in evaluation."""
        images, targets = inputs if isinstance(inputs, tuple) else (inputs["pixel_values"], inputs["labels"])
        outputs = model(pixel_values=images)
        loss = dm.MixUpLoss(torch.nn.CrossEntropyLoss())(outputs.logits, targets)
        return (loss, outputs) if return_outputs else loss


class KeepPlace(TrainerCallback):
    """Writes where a Loader stands into each checkpoint, and has it go on from there.

    The Trainer's own way, to skip batches, needs a DataLoader: pass `ignore_data_skip=True`.
    """

    def __init__(self, loader: dm.Loader):
        self.loader = loader

    def file(self, arguments: TrainingArguments, state: Any) -> Path:
        """Each rank's own."""
        return Path(arguments.output_dir, f"checkpoint-{state.global_step}", f"loader-{arguments.process_index}.pt")

    def on_save(self, args: TrainingArguments, state: Any, *_: Any, **__: Any) -> None:
        """Behind each checkpoint."""
        torch.save(self.loader.state_dict(), self.file(args, state))

    def on_train_begin(self, args: TrainingArguments, state: Any, *_: Any, **__: Any) -> None:
        """A training that goes on has made steps before."""
        if state.global_step:
            self.loader.load_state_dict(torch.load(self.file(args, state)))


def as_dict(samples: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    """What the Trainer's evaluation reads."""
    return dict(zip(("pixel_values", "labels"), default_collate(samples), strict=True))


def main() -> None:
    """Train and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("val")
    parser.add_argument("--output", default="run", help="folder of the checkpoints")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32, help="per rank")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()

    torch.manual_seed(0)
    folder = dm.ImageFolder(options.train)
    pipeline = imagenet.train(options.size)
    loader = dm.Loader(
        folder, pipeline, batch_size=options.batch_size, shuffle=True, drop_last=True, mixup=dm.MixUp(0.4)
    )
    floats = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(pipeline.mean, pipeline.std)]
    val = ImageFolder(options.val, v2.Compose([v2.Resize(options.size), v2.CenterCrop(options.size), *floats]))
    small = {"depths": [1, 1, 1], "hidden_sizes": [64, 128, 256], "layer_type": "basic"}
    config = ResNetConfig(id2label=dict(enumerate(folder.classes or [])), **small)
    model = ResNetForImageClassification(config)  # or .from_pretrained(...)
    arguments = TrainingArguments(
        options.output,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=1e-3,
        save_steps=10,
        logging_steps=1,
        report_to=[],
        remove_unused_columns=False,
        ignore_data_skip=True,
    )
    trainer = MixUpTrainer(model, arguments, loader=loader, eval_dataset=val, data_collator=as_dict)
    checkpoint = get_last_checkpoint(options.output) if Path(options.output).exists() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    print(trainer.evaluate())


if __name__ == "__main__":
    main()
