"""What each of two ranks of Lightning's sees, written to OUT/<rank>.pt: `lightning_ranks.py FOLDER OUT STRATEGY`."""

import sys
import warnings
from collections import defaultdict
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import dali_mixup as dm
from bench.torchvision_fix import import_torchvision
from tests.translation.peers import numbered, swap

import_torchvision()  # which Lightning imports
from lightning import pytorch as lightning  # noqa: E402

PIPELINE = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16))
BATCH_SIZE = 2
EPOCHS = 2


def build(folder):
    """A Loader, and one from a shuffled DataLoader for which nobody has chosen a seed."""
    theirs = DataLoader(numbered(folder), batch_size=BATCH_SIZE, shuffle=True)
    files = dm.FileList([path for path, _ in theirs.dataset.samples], range(len(theirs.dataset)))
    options = {"batch_size": BATCH_SIZE, "shuffle": True, "device": "cpu", "num_threads": 1}
    return [dm.Loader(files, PIPELINE, **options), swap(theirs)]


class Model(lightning.LightningModule):
    """Notes the labels of the batches that it gets, from loaders that were built before the ranks were, and after."""

    def __init__(self, folder, out, validation):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.folder, self.out, self.validation = folder, out, validation
        self.seen = defaultdict(dict)

    def note(self, name, labels):
        self.seen[name].setdefault(self.current_epoch, []).append(labels.tolist())

    def training_step(self, batches, _):
        for name, (_, labels) in zip(("Loader", "from_dataloader"), batches, strict=True):
            self.note(name, labels)
        return self.layer(torch.ones(1, 1)).sum()

    def val_dataloader(self):
        return build(self.folder)

    def validation_step(self, batch, _, dataloader_idx):
        self.note(("Loader in the hook", "from_dataloader in the hook")[dataloader_idx], batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_fit_start(self):
        self.said = []
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: self.said.append(str(message))

    def on_fit_end(self):
        for _, labels in self.validation:
            self.note("unshuffled", labels)
        seen = {name: list(epochs.values()) for name, epochs in self.seen.items()}
        said = [message for message in self.said if message.startswith("from_dataloader")]
        torch.save({"seen": seen, "said": said}, Path(self.out) / f"{self.global_rank}.pt")


def main(folder, out, strategy):
    validation = swap(DataLoader(numbered(folder), batch_size=BATCH_SIZE))
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=out,
    )
    trainer.fit(Model(folder, out, validation), build(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
