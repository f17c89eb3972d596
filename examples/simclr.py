"""SimCLR: two views of each image, decoded once, and the NT-Xent loss; labels are not used.

python examples/simclr.py data/train --epochs 100

Source: Chen, Kornblith, Norouzi and Hinton, A Simple Framework for Contrastive Learning of Visual Representations,
2020.
"""

import argparse

import torch
from torch import nn
from torch.nn import functional

import dali_mixup as dm


def build_pipeline(size: int) -> dm.ImagePipeline:
    """The paper's views: small crops, strong colours, blur over a tenth of the side."""
    colours = dm.ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
    return dm.ImagePipeline(
        geometry=dm.RandomResizedCrop(size, scale=(0.08, 1.0)),
        flip=0.5,
        transforms=(
            dm.RandomApply((colours,), p=0.8),
            dm.RandomGrayscale(p=0.2),
            dm.RandomApply((dm.GaussianBlur(size // 10 // 2 * 2 + 1),), p=0.5),
        ),
    )


def build_model(width: int = 128) -> tuple[nn.Module, nn.Module]:
    """An encoder, which is what one is after, and the projection that the loss sees; put yours here."""
    layers = []
    for channels_in, channels in ((3, 32), (32, 64), (64, width)):
        layers += [nn.Conv2d(channels_in, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    encoder = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return encoder, nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64))


def nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of projections (B, D) of two views, and how often the nearest of all others is the other view."""
    count = len(first)
    features = functional.normalize(torch.cat([first, second]), dim=1)
    similarity = features @ features.T / temperature
    similarity.fill_diagonal_(-torch.inf)  # nothing is compared with itself
    other = torch.arange(2 * count, device=features.device).roll(count)
    return functional.cross_entropy(similarity, other), (similarity.argmax(1) == other).float().mean()


def main() -> None:
    """Train, and save the encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--out", default="encoder.pt")
    options = parser.parse_args()

    loader = dm.Loader(
        dm.ImageFolder(options.train),
        build_pipeline(options.size),
        views=2,
        batch_size=options.batch_size,
        shuffle=True,
        drop_last=True,
    )
    encoder, projection = (part.to(loader.device) for part in build_model())
    optimizer = torch.optim.AdamW([*encoder.parameters(), *projection.parameters()], lr=1e-3, weight_decay=1e-4)
    for epoch in range(options.epochs):
        total, found = 0.0, 0.0
        for views, _ in loader:  # a list of two batches (B, 3, H, W), whose images belong together in pairs
            optimizer.zero_grad()
            loss, right = nt_xent(*(projection(encoder(images)) for images in views), options.temperature)
            loss.backward()
            optimizer.step()
            total, found = total + loss.item(), found + right.item()
        print(f"epoch {epoch}: loss {total / len(loader):.3f}, {found / len(loader):.1%} of the views found")
    torch.save(encoder.state_dict(), options.out)


if __name__ == "__main__":
    main()
