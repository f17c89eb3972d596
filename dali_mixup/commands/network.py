"""The demo's network: plain convolutions that learn from a few thousand images in half a minute on two cores."""

from torch import nn

FIRST_MAP = 32  # pixels: the first layer brings larger images down to about this height and width
CHANNELS = (16, 32, 64, 64, 128)
STRIDES = (2, 1, 2, 1)  # of all layers but the first


def build_network(classes: int, size: int) -> nn.Sequential:
    """A network for square images of `size` pixels; its logits are (B, classes)."""
    stride = max(1, size // FIRST_MAP)
    layers = _convolution(3, CHANNELS[0], kernel=max(3, 2 * stride - 1), stride=stride)
    for channels_in, channels, stride in zip(CHANNELS, CHANNELS[1:], STRIDES, strict=False):
        layers += _convolution(channels_in, channels, kernel=3, stride=stride)
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[-1], classes))


def _convolution(channels_in: int, channels: int, *, kernel: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
