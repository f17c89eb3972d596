"""Translations: what becomes of each transform, and whole recipes through a Loader beside torchvision on PIL images."""

import dataclasses
import pickle

import pytest
import timm.data.transforms as timm_transforms
import torch
import torchvision
from PIL import Image
from timm.data.transforms_factory import create_transform
from torchvision import transforms as v1
from torchvision.transforms import v2

import dali_mixup as dm
from bench.parity_replay import replay
from dali_mixup.parity import Parity
from dali_mixup.pipelines import imagenet
from tests.conftest import picture

MEAN, STD = dm.IMAGENET_MEAN, dm.IMAGENET_STD
AFTER = [v1.ToTensor(), v1.Normalize(MEAN, STD)]
Mode = v1.InterpolationMode
CROP = v1.RandomCrop(32, padding=4)


def geometry(transform):
    return dm.from_torchvision(transform).geometry


@pytest.mark.filterwarnings("ignore:The transform `ToTensor:UserWarning")
@pytest.mark.parametrize("module", [v1, v2])
def test_the_recipes_of_imagenet_are_the_ready_pipelines(module):
    train = module.Compose(
        [module.RandomResizedCrop(224), module.RandomHorizontalFlip(), module.ToTensor(), module.Normalize(MEAN, STD)]
    )
    val = module.Compose([module.Resize(256), module.CenterCrop(224), module.ToTensor(), module.Normalize(MEAN, STD)])
    assert dm.from_torchvision(train, strict=True) == imagenet.train()
    assert dm.from_torchvision(val, strict=True) == imagenet.val()
    assert dm.from_torchvision(torchvision.models.ResNet18_Weights.DEFAULT.transforms(), strict=True) == imagenet.val()


def test_containers_and_single_transforms_are_read():
    crop, flip = v1.RandomResizedCrop(8), v1.RandomHorizontalFlip()
    expected = dm.ImagePipeline(geometry=dm.RandomResizedCrop(8), flip=0.5, mean=(0, 0, 0), std=(1, 1, 1))
    for container in (
        v1.Compose([crop, flip]),
        v2.Compose([v1.Compose([crop]), v2.Compose([flip, torch.nn.Identity()])]),
        torch.nn.Sequential(crop, flip),
        [crop, v2.Identity(), flip],
    ):
        assert dm.from_torchvision(container) == expected
    assert dm.from_torchvision(crop).geometry == expected.geometry
    assert geometry(v1.ToTensor()) == dm.KeepSize()


def test_the_translation_is_printed_line_by_line():
    pipeline = dm.from_torchvision(
        v1.Compose([v1.RandomResizedCrop(8), v1.ColorJitter(0.1), *AFTER, v1.RandomErasing(value="random")])
    )
    first, jitter, tensor, normalize, erasing = str(pipeline).splitlines()
    assert first.startswith("RandomResizedCrop(size=(8, 8), scale=(0.08, 1.0)")
    assert first.endswith(
        "-> RandomResizedCrop(size=8, scale=(0.08, 1.0), ratio=(0.75, 1.3333333333333333), "
        "interpolation='bilinear') (within one level)"
    )
    assert "ColorJitter(brightness=(0.9, 1.1), contrast=None" in jitter
    assert jitter.endswith("(exact)")
    assert tensor == "ToTensor() -> images from 0 to 1 (exact)"
    assert normalize.endswith(f"-> mean={MEAN}, std={STD} (exact)")
    assert "(approximate: noise is clipped" in erasing
    changed = dataclasses.replace(pipeline, flip=0.5)
    assert str(changed) == repr(changed)
    assert "->" not in repr(pipeline)


def test_the_translation_is_still_printed_once_the_loader_knows_the_size(tmp_path):
    picture(8, 9, 0).save(tmp_path / "0.png")
    loader = dm.Loader(
        dm.FileList([tmp_path / "0.png"], [0]), dm.from_torchvision(v1.ToTensor()), batch_size=1, device="cpu"
    )
    assert loader.pipeline.size == (8, 9)
    assert str(loader.pipeline) == "ToTensor() -> images from 0 to 1 (exact)"


def test_pipelines_are_pickled_hashed_and_equal_to_those_made_by_hand():
    steps = [
        v2.RandomCrop(32, 4),
        v2.RandomHorizontalFlip(),
        v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        v2.RandomErasing(),
    ]
    pipeline = dm.from_torchvision(v2.Compose([*steps[:3], *AFTER, steps[3]]))
    fill = tuple(255 * mean for mean in MEAN)
    by_hand = dm.ImagePipeline(
        geometry=dm.RandomCrop(32, 4),
        flip=0.5,
        transforms=(dm.AutoAugment("cifar10"), dm.RandomErasing(fill=fill)),
        mean=MEAN,
        std=STD,
    )
    again = pickle.loads(pickle.dumps(pipeline))
    assert again == pipeline == by_hand
    assert hash(again) == hash(pipeline) == hash(by_hand)
    assert str(again) == str(pipeline)


class RandomInvert(v1.RandomInvert):
    """A transform of the user's own."""


@pytest.mark.parametrize(
    "step",
    [
        v1.Lambda(abs),
        v2.RandomPhotometricDistort(),
        RandomInvert(),
        abs,
        timm_transforms.TrimBorder(4),
    ],
)
def test_an_unknown_transform_is_named_and_the_way_out_shown(step):
    name = "abs" if step is abs else type(step).__name__
    for transform in (step, v1.Compose([v1.RandomResizedCrop(8), step]), v1.Compose([v1.RandomApply([step])])):
        with pytest.raises(
            TypeError,
            match=rf"(?s)transform must be made of transforms .*{name}.*dataclasses.replace\(pipeline, augment=",
        ):
            dm.from_torchvision(transform)


def halved(image):
    return image / 2


@pytest.mark.parametrize("module", [v1, v2])
def test_a_lambda_is_named_by_its_line_and_its_text(module):
    written = rf"got Lambda\(.*\) of .*{__name__.split('.')[-1]}\.py:\d+: "
    with pytest.raises(TypeError, match=rf"(?s){written}def halved\(image\): return image / 2 \(torchvision.*after="):
        dm.from_torchvision(module.Compose([module.CenterCrop(8), v1.ToTensor(), module.Lambda(halved)]))
    with pytest.raises(TypeError, match=rf"(?s){written}.*module.Lambda\(lambda image: image\.convert\(.*augment="):
        dm.from_torchvision(module.Compose([module.CenterCrop(8), module.Lambda(lambda image: image.convert("L"))]))
    typed_in = eval("lambda image: image")
    with pytest.raises(TypeError, match=r"got Lambda\(.*\) of <string>:1 \(torchvision"):
        dm.from_torchvision(module.Lambda(typed_in))


def test_what_is_read_by_nobody_is_handed_over(small):
    class Cutout:
        def __call__(self, image):
            return image.clone().index_fill_(2, torch.arange(4, 9), 0.0)

    def many(images):
        return torch.stack([Cutout()(image) for image in images])

    steps = [CROP, v1.RandomHorizontalFlip(), *AFTER]
    with pytest.raises(TypeError, match=r"(?s)Cutout.*leave it out and hand it over by after=\[my_function\]"):
        dm.from_torchvision(v1.Compose([*steps, Cutout()]))
    pipeline = dm.from_torchvision(v1.Compose(steps), strict=True, after=[many])
    assert pipeline.after == (many,)
    assert str(pipeline).splitlines()[-1].endswith("-> on the finished batch, before mixup (exact)")
    loader = dm.Loader(small, pipeline, batch_size=24, device="cpu")
    ((images, _),) = loader
    batch = loader.plan.batch(0, None, next(loader.plan.steps()))
    for row, path in enumerate(small.paths):
        with Image.open(path) as image:
            theirs = Cutout()(replay(v1.Compose(steps), image.convert("RGB"), batch, row))
        torch.testing.assert_close(images[row], theirs, rtol=1e-4, atol=1e-4)


class TwoViews:
    def __init__(self):
        self.view = v1.Compose([v1.RandomResizedCrop(8), v1.ToTensor()])

    def __call__(self, image):
        return self.view(image), self.view(image)


OWN = v2.RandomPhotometricDistort()


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([v1.CenterCrop(8), v1.ToTensor(), v1.Lambda(abs)], r"leave it out and hand it over by after=\[my_function\]"),
        ([TwoViews()], "got .*TwoViews.*; a Loader makes the views of an image itself: translate"),
        ([v1.FiveCrop(8)], "got 'FiveCrop.*; from_torchvision.*views=True"),
        ([v2.Resize(40), v2.TenCrop(8)], "got 'TenCrop.*; from_torchvision.*views=True"),
        ([OWN, v1.RandomResizedCrop(8)], r"leave it out, or put it behind RandomResizedCrop\(size=\(8, 8\)"),
        ([v1.CenterCrop(8), v1.ColorJitter(0.5), OWN], r"augment=my_function.*; it runs before ColorJitter"),
        ([v1.CenterCrop(8), v2.ToImage(), OWN, v2.ToDtype(torch.float32, scale=True)], "augment=my_function"),
    ],
)
def test_the_way_out_is_one_that_works_at_the_transforms_place(steps, message):
    with pytest.raises(TypeError, match=f"(?s){message}"):
        dm.from_torchvision(v1.Compose(steps))


def test_strict_names_what_is_approximate_and_by_how_much():
    steps = [v1.RandomHorizontalFlip(), v1.CenterCrop(8), *AFTER, v1.RandomErasing(value="random")]
    with pytest.raises(
        ValueError,
        match=(
            r"(?s)with strict=True; approximate are:\n  CenterCrop.*one pixel.*levels.*\n  "
            r"RandomErasing.*noise.*levels"
        ),
    ):
        dm.from_torchvision(v1.Compose(steps), strict=True)
    assert {line.parity for line in dm.from_torchvision(v1.Compose(steps)).translation.lines} == {
        Parity.EXACT,
        Parity.APPROXIMATE,
    }


def test_timms_training_recipe_is_read():
    transform = create_transform(
        96,
        is_training=True,
        interpolation="random",
        re_prob=0.25,
        re_mode="pixel",
        re_count=3,
        vflip=0.1,
        grayscale_prob=0.2,
    )
    pipeline = dm.from_torchvision(transform)
    assert pipeline.geometry == dm.RandomResizedCrop(96, interpolation="random")
    assert (pipeline.flip, pipeline.mean, pipeline.std) == (0.5, MEAN, STD)
    kinds = [type(step).__name__ for step in pipeline.transforms]
    assert kinds == ["RandomVerticalFlip", "ColorJitter", "RandomGrayscale", "RandomErasing"]
    erasing = pipeline.transforms[-1]
    assert (erasing.noise, erasing.count, erasing.p) == ("pixel", (1, 3), 0.25)
    assert erasing.ratio == pytest.approx((0.3, 1 / 0.3))
    assert erasing.scale == pytest.approx((0.02, 1 / 3))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """24 lossless images of 32 x 32, as CIFAR's, and a few larger ones."""
    root = tmp_path_factory.mktemp("small")
    for i in range(24):
        picture(32, 32, i).save(root / f"{i:02}.png")
    return dm.FileList([root / f"{i:02}.png" for i in range(24)], list(range(24)))


def differences(dataset, transform, *, epochs=1, **options):
    """In levels, between a Loader and torchvision with the Loader's random numbers."""
    pipeline = dm.from_torchvision(transform)
    loader = dm.Loader(dataset, pipeline, batch_size=7, device="cpu", **{"shuffle": True, **options})
    scale = 255 * torch.tensor(pipeline.std).view(3, 1, 1)
    found = []
    for epoch in range(epochs):
        order = loader.plan.order(epoch)
        for (images, labels), step in zip(loader, loader.plan.steps(), strict=True):
            batch = loader.plan.batch(epoch, order, step)
            for row, label in enumerate(labels.tolist()):
                with Image.open(dataset.paths[int(batch.indices[row])]) as image:
                    theirs = replay(transform, image.convert("RGB"), batch, row)
                assert int(dataset.targets[batch.indices[row]]) == label
                found.append(((images[row] - theirs) * scale).abs())
    return torch.stack(found)


CIFAR = {
    "AutoAugment": [CROP, v1.RandomHorizontalFlip(), v1.AutoAugment(v1.AutoAugmentPolicy.CIFAR10), *AFTER],
    "reflect": [v1.RandomCrop(32, 4, padding_mode="reflect"), v1.RandomHorizontalFlip(), *AFTER],
    "RandAugment": [CROP, v1.RandomHorizontalFlip(), v1.RandAugment(fill=128), *AFTER],
    "ColorJitter": [CROP, v1.ColorJitter(0.4, 0.4, 0.4, 0.1), v1.RandomGrayscale(), *AFTER],
    "as they are": AFTER,
    "padded later": [v1.ToTensor(), CROP, v1.RandomErasing(1.0), AFTER[1]],
}


@pytest.mark.parametrize("recipe", CIFAR)
def test_recipes_of_cifar_are_carried_out_exactly(small, recipe):
    assert differences(small, v1.Compose(CIFAR[recipe]), epochs=3).max() < 0.01


def test_erasing_after_normalization_erases_to_the_mean_within_half_a_level(small):
    difference = differences(small, v1.Compose([CROP, *AFTER, v1.RandomErasing(1.0)]))
    assert 0.01 < difference.max() < 0.51


@pytest.mark.parametrize("size", [32, (24, 40)])
@pytest.mark.parametrize("mode", [Mode.NEAREST, Mode.BILINEAR, Mode.BICUBIC])
def test_evaluation_equals_torchvisions_whole_output(photos, size, mode):
    transform = v1.Compose([v1.Resize(44, mode), v1.CenterCrop(size), *AFTER])
    difference = differences(dm.ImageFolder(photos), transform, shuffle=False)
    assert difference.max() < (1.01 if mode == Mode.BILINEAR else 0.01)


@pytest.mark.parametrize("weights", ["ResNet50_Weights", "EfficientNet_B0_Weights", "ViT_B_16_Weights"])
def test_presets_of_models_equal_torchvisions_whole_output(photos, weights):
    transform = getattr(torchvision.models, weights).DEFAULT.transforms()
    assert differences(dm.ImageFolder(photos), transform, shuffle=False).max() < 1.01


def test_timms_evaluation_equals_its_own(photos):
    transform = create_transform(64, interpolation="bicubic", crop_pct=0.9)
    assert differences(dm.ImageFolder(photos), transform, shuffle=False).max() < 0.01


def test_training_recipes_are_carried_out_as_far_as_resizing_is_exact(photos):
    dataset = dm.ImageFolder(photos)
    steps = [v1.RandomHorizontalFlip(), v1.ColorJitter(0.4, 0.4, 0.4), *AFTER]
    for mode in (Mode.LANCZOS, Mode.BILINEAR, Mode.BICUBIC):
        found = differences(dataset, v1.Compose([v1.RandomResizedCrop(64, interpolation=mode), *steps]))
        if mode == Mode.LANCZOS:
            assert found.max() < 0.01
        else:
            assert found.max() < 8.01  # one level, up to 1.4 times brighter, with more contrast, with more colour
            assert found.mean() < 0.02


def test_timms_training_is_carried_out(photos):
    transform = create_transform(
        64, is_training=True, interpolation="random", color_jitter=(0.4, 0.4, 0.4, 0.1), re_prob=0.5
    )
    difference = differences(dm.ImageFolder(photos), transform)
    assert difference.mean() < 0.1
    assert torch.quantile(difference.flatten()[::7], 0.999) < 2.1
