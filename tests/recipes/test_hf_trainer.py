"""Hugging Face's image classification: a Trainer subclass with get_train_dataloader, over files and over a table."""

import pytest
import torch
from torch.utils.data import DataLoader

import dali_mixup as dm
from tests.recipes.comparing import Replayed, differences, mix_as_torchvision, run_epoch, transform_again
from tests.translation.peers import MEAN, STD, image_folder, swap, v1, v2

transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore")  # Hugging Face's own
SIZE, EPOCHS = 32, 2
FLOATS = [v1.ToTensor(), v1.Normalize(MEAN, STD)]
TRAIN = v1.Compose([v1.RandomResizedCrop(SIZE), v1.RandomHorizontalFlip(), *FLOATS])
VAL = v1.Compose([v1.Resize(SIZE), v1.CenterCrop(SIZE), *FLOATS])
MIXUP = v2.MixUp(alpha=0.4, num_classes=4)


def collate_fn(examples):
    """The script's."""
    pixel_values = torch.stack([example["pixel_values"] for example in examples])
    return {"pixel_values": pixel_values, "labels": torch.tensor([example["label"] for example in examples])}


def with_transform(table, transform):
    """The script's: a table whose rows come transformed."""

    def change(batch):
        return {
            "pixel_values": [transform(image.convert("RGB")) for image in batch["image"]],
            "label": batch["label"],
        }

    return table.with_transform(change)


class MixUpTrainer(transformers.Trainer):
    """Which trains on (images, targets), and evaluates as ever."""

    def __init__(self, *arguments, train_loader, **options):
        super().__init__(*arguments, **options)
        self.train_loader, self.losses = train_loader, []

    def get_train_dataloader(self):
        return self.train_loader

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        images, targets = inputs if isinstance(inputs, tuple | list) else (inputs["pixel_values"], inputs["labels"])
        outputs = model(pixel_values=images)
        loss = dm.MixUpLoss(torch.nn.CrossEntropyLoss())(outputs.logits, targets)
        if model.training:
            self.losses.append(loss.item())
        return (loss, outputs) if return_outputs else loss


class DenseTrainer(MixUpTrainer):
    """The original, whose criterion gets probabilities."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if not isinstance(inputs, tuple | list):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = torch.nn.functional.cross_entropy(model(pixel_values=inputs[0]).logits, inputs[1])
        self.losses.append(loss.item())
        return loss


def build_model():
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.ViTConfig(image_size=SIZE, patch_size=8, num_labels=4, **small)
    return transformers.ViTForImageClassification(config)


@pytest.fixture
def table(photos):
    """The files and labels of a folder, as load_dataset("imagefolder") has them."""
    files = image_folder(photos)
    columns = {"image": [path for path, _ in files.samples], "label": files.targets}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=files.classes)})
    return datasets.Dataset.from_dict(columns, features=features)


def fit(kind, loader, table, place):
    """Losses of the steps, and the evaluation's."""
    options = {"num_train_epochs": EPOCHS, "learning_rate": 1e-3, "report_to": [], "disable_tqdm": True}
    options |= {"per_device_train_batch_size": 8, "remove_unused_columns": False, "save_strategy": "no", "seed": 0}
    arguments = transformers.TrainingArguments(str(place), use_cpu=True, **options)
    data = {"eval_dataset": with_transform(table, VAL), "data_collator": collate_fn}
    trainer = kind(build_model(), arguments, train_loader=loader, **data)
    trainer.train()
    return trainer.losses, trainer.evaluate()["eval_loss"]


def test_a_table_is_refused_with_the_way_out_which_gives_its_rows(table):
    theirs = DataLoader(with_transform(table, VAL), batch_size=8, collate_fn=collate_fn)
    with pytest.raises(
        TypeError, match=r"files=dm.HFDataset\(dataset, image=.*and as transform= what its set_transform"
    ):
        swap(theirs)
    ours = swap(theirs, files=dm.HFDataset(table), transform=VAL)
    for (images, targets), batch in zip(ours, theirs, strict=True):
        assert torch.equal(targets, batch["labels"])
        assert differences(images, batch["pixel_values"], STD).max() < 1.01


def test_a_trainers_own_dataloader_is_refused_with_the_way_out(table, tmp_path):
    arguments = transformers.TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], remove_unused_columns=False)
    data = {"train_dataset": with_transform(table, TRAIN), "data_collator": collate_fn}
    trainer = transformers.Trainer(build_model(), arguments, **data)
    with pytest.raises(TypeError, match="pass the DataLoader that is inside of it, before accelerator"):
        swap(trainer.get_train_dataloader())


def test_a_trainer_arrives_at_the_losses_of_its_own_batches_with_the_same_numbers(photos, table, tmp_path):
    theirs = DataLoader(with_transform(table, TRAIN), batch_size=8, shuffle=True, collate_fn=collate_fn)
    given = {"files": dm.HFDataset(table), "transform": TRAIN, "seed": 1}
    plain, mixed = (swap(theirs, mixup=mixer, **given, indices=True) for mixer in (None, MIXUP))
    files = image_folder(photos)
    epochs = [[], []]
    plain_files = swap(DataLoader(files, batch_size=8, shuffle=True), transform=TRAIN, seed=1, indices=True)
    for made in epochs:
        for batch, other, same in zip(run_epoch(plain), run_epoch(mixed), run_epoch(plain_files), strict=True):
            assert torch.equal(batch.targets, torch.tensor(table["label"])[batch.numbers])
            assert torch.equal(batch.images, same.images)
            images = transform_again(TRAIN, plain_files, same)
            assert differences(batch.images, images, STD).max() < 1.01
            made.append(mix_as_torchvision(MIXUP, images, batch.targets, other.plan.draw))
        assert len(made) == len(theirs)
    swapped = swap(theirs, mixup=MIXUP, targets="stacked", **given)
    losses, evaluated = fit(MixUpTrainer, swapped, table, tmp_path)
    expected, theirs_evaluated = fit(DenseTrainer, Replayed(epochs), table, tmp_path)
    assert len(losses) == EPOCHS * len(theirs)
    assert losses == pytest.approx(expected, rel=1e-2)
    assert evaluated == pytest.approx(theirs_evaluated, rel=1e-2)
