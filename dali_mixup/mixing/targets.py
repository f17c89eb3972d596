"""Stacked targets: two labels and a weight per sample, instead of one-hot rows. No other module knows the layout.

Split targets hold the labels apart as integers, for trainers that cast all floats. Dense targets, which are one-hot
rows mixed, are for losses that take probabilities.

They are plain tensors, not a Tensor subclass that would refuse to be taken for one-hot rows or labels. Tried with torch
2.13: one that survives `.to`, slices and `torch.cat` makes a subclass of the loss and its gradient, too, takes the loss
more than twice the time, has no full graph under `torch.compile`, can't be deep-copied and is refused by
`torch.load(weights_only=True)`; one that gives plain tensors instead is lost at a trainer's first transfer, and either
is lost in `all_gather`. So what reads hard labels asks `labels` for them, in one line.
"""

from typing import TypeAlias, cast

import torch

from dali_mixup.errors import must_be

MAX_CLASSES = 2**24  # float32 holds every integer up to here
HALVES = {torch.float16: 2048, torch.bfloat16: 256}  # and they up to here
CAST = (
    "the trainer has cast them (bf16-true, 16-true, model.half()), and {dtype} holds class numbers only up to {most}; "
    'take MixUp(targets="split"), whose labels stay integers, or mixed precision'
)
BOOLS = "two classes are labels.long(), many labels per sample labels.float()"
HEADS = (
    "mix each head with the same draw, mixup(images, labels[:, 0], draw=draw); many labels per sample are "
    "labels.float()"
)
ROUNDING = 0.01  # that halves may add up to in a row of probabilities
DENSE = "dense targets (B, C) go to the criterion itself"

Targets: TypeAlias = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


def stack_targets(labels: torch.Tensor, partner_labels: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """Rows `[label, partner label, lam]`.

    Args:
        labels: (B,) integers below 2**24; negative ones (an `ignore_index`) are kept.
        partner_labels: (B,) integers, the labels of the other samples.
        lam: (B,) float32, the weight of the sample itself.

    Returns:
        (B, 3) float32, on the labels' device.

    Raises:
        TypeError: labels that aren't integers.
        ValueError: other shapes, or a label that float32 doesn't hold.

    >>> import torch
    >>> stack_targets(torch.tensor([7, 3]), torch.tensor([3, 7]), torch.tensor([0.75, 1.0]))
    tensor([[7.0000, 3.0000, 0.7500],
            [3.0000, 7.0000, 1.0000]])
    """
    for name, values in (("labels", labels), ("partner_labels", partner_labels)):
        _check_indices(name, values, lam, "stacked")
        check_labels(name, values)
    return torch.stack([labels.float(), partner_labels.float(), lam.float().to(labels.device)], 1)


def densify_targets(
    labels: torch.Tensor, partner_labels: torch.Tensor, lam: torch.Tensor, num_classes: int
) -> torch.Tensor:
    """Rows of probabilities: lam for the label, 1 - lam for the partner's label, 0 elsewhere.

    Args:
        labels: (B,) integers from 0 to num_classes - 1.
        partner_labels: (B,) integers, likewise, the labels of the other samples.
        lam: (B,) float32, the weight of the sample itself.
        num_classes: C.

    Returns:
        (B, C) float32, on the labels' device; each row sums to 1.

    Raises:
        TypeError: labels that aren't integers.
        ValueError: other shapes, or a label that is no class.

    >>> import torch
    >>> densify_targets(torch.tensor([0, 2]), torch.tensor([1, 2]), torch.tensor([0.75, 0.5]), 3)
    tensor([[0.7500, 0.2500, 0.0000],
            [0.0000, 0.0000, 1.0000]])
    """
    for name, values in (("labels", labels), ("partner_labels", partner_labels)):
        _check_indices(name, values, lam, "made dense")
        check_classes(name, values, num_classes)
    columns = (labels.long(), partner_labels.long(), lam.float().to(labels.device))
    labels, partner_labels, lam = (column[:, None] for column in columns)
    rows = torch.zeros(len(labels), num_classes, dtype=torch.float32, device=labels.device)
    rows.scatter_(1, partner_labels, 1 - lam)
    own = torch.where(labels == partner_labels, 1, lam)
    return rows.scatter_(1, labels, own)  # unlike scatter_add_ the same on every run of a GPU


def split_targets(
    labels: torch.Tensor, partner_labels: torch.Tensor, lam: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both labels, (B, 2) int64, and the weight of the first, (B,) float32; arguments as of `stack_targets`."""
    for name, values in (("labels", labels), ("partner_labels", partner_labels)):
        _check_indices(name, values, lam, "split")
    return torch.stack([labels.long(), partner_labels.long()], 1), lam.float().to(labels.device)


def labels(targets: Targets) -> torch.Tensor:
    """Hard labels of any targets that this library makes, for an accuracy or a confusion matrix of the user's.

    Of two mixed labels it is the one with the larger weight, the sample's own at one half.

    Args:
        targets: stacked (B, 3), split, dense (B, C), or plain int64 labels (B,) or (B, 1). Dense targets of three
            classes are told from stacked ones by their values on a CPU, where one sample is mixed; on a GPU they are
            taken for stacked ones.

    Returns:
        (B,) int64, on the targets' device.

    Raises:
        TypeError: other targets.
        ValueError: on a CPU, rows that are neither stacked nor probabilities, such as multi-label ones.

    >>> import torch
    >>> labels(torch.tensor([[7.0, 3.0, 0.75], [7.0, 3.0, 0.25]]))
    tensor([7, 3])
    >>> labels(torch.tensor([[0.1, 0.7, 0.2, 0.0]])), labels(torch.tensor([5]))
    (tensor([1]), tensor([5]))
    """
    if is_labels(targets):
        return cast(torch.Tensor, targets).flatten()
    if _is_dense(targets):
        return cast(torch.Tensor, targets).argmax(1)
    pairs, share = unstack_pairs(targets)
    return torch.where(share[:, 0] >= 0.5, pairs[:, 0], pairs[:, 1])


def unstack_targets(targets: Targets) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The parts of stacked or split targets: labels (B,) int64, partner labels (B,) int64, lam (B,) float32.

    Raises:
        TypeError: other targets.
        ValueError: on a CPU, rows with class numbers that are none or weights outside of [0, 1].

    >>> import torch
    >>> unstack_targets(torch.tensor([[7.0, 3.0, 0.75]]))
    (tensor([7]), tensor([3]), tensor([0.7500]))
    """
    pairs, share = unstack_pairs(targets)
    return pairs[:, 0], pairs[:, 1], share[:, 0].float()


def unstack_pairs(targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
    """Both labels of stacked or split targets, (B, 2) int64, and their weights, (B, 2) float.

    Raises:
        TypeError, ValueError: as `unstack_targets`.
    """
    if is_split(targets):
        pairs, lam = targets
        if (reason := _why_no_weights(lam)) is not None:
            raise ValueError(f"targets must be labels (B, 2) and weights (B,), {reason}")
        lam = lam.to(torch.promote_types(lam.dtype, torch.float32))  # a half's complement is no half
        return pairs, torch.stack([lam, 1 - lam], 1)
    if not isinstance(targets, torch.Tensor) or not is_stacked(targets):
        rule = "int64 labels (B,) or float32 stacked targets (B, 3)"
        raise TypeError(must_be("targets", rule, targets, _way_out(targets)))
    if (reason := _why_not_stacked(targets)) is not None:
        raise ValueError(f"targets must be rows [label, partner label, lam], {reason}; {DENSE}")
    lam = targets[:, 2:]
    return targets[:, :2].long(), torch.cat([lam, 1 - lam], 1)


def is_stacked(targets: object) -> bool:
    """Whether the dtype and shape are those of stacked targets; float64 ones a trainer has cast, without a loss."""
    return (
        isinstance(targets, torch.Tensor)
        and targets.dtype in (torch.float32, torch.float64)
        and targets.ndim == 2
        and targets.shape[1] == 3
    )


def is_split(targets: object) -> bool:
    """Whether they are labels (B, 2) int64 and weights (B,), also as a list."""
    if not isinstance(targets, tuple | list) or len(targets) != 2:
        return False
    pairs, lam = targets
    return (
        isinstance(pairs, torch.Tensor)
        and isinstance(lam, torch.Tensor)
        and pairs.dtype == torch.int64
        and lam.is_floating_point()
        and pairs.shape == (*lam.shape, 2)
        and lam.ndim == 1
    )


def _is_dense(targets: object) -> bool:
    """Whether they are rows of probabilities; three columns that may be stacked are."""
    if not isinstance(targets, torch.Tensor) or targets.ndim != 2 or targets.shape[1] < 2:
        return False
    if not targets.is_floating_point() or is_halved(targets):
        return False
    if is_stacked(targets) and _why_not_stacked(targets) is None:
        return False
    if _may_look(targets) and not ((targets.float().sum(1) - 1).abs() < ROUNDING).all():
        rule = "stacked, or rows of probabilities that sum to 1"
        raise ValueError(must_be("targets", rule, targets, "many labels per sample are not one: compare them yourself"))
    return True


def is_halved(targets: torch.Tensor) -> bool:
    """Whether the shape is that of stacked targets, and the dtype one that loses class numbers."""
    return targets.dtype in HALVES and targets.ndim == 2 and targets.shape[1] == 3


def is_labels(targets: object) -> bool:
    """Whether the dtype and shape are those of plain labels, int64 (B,) or (B, 1)."""
    return (
        isinstance(targets, torch.Tensor)
        and targets.dtype == torch.int64
        and (targets.ndim == 1 or targets.shape[1:] == (1,))
    )


def _may_look(values: torch.Tensor) -> bool:
    """Whether a look at the values costs no wait for a GPU and breaks no graph."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def _why_not_stacked(targets: torch.Tensor) -> str | None:
    """What says that rows of three floats are no stacked targets, as far as one may look."""
    if not _may_look(targets):
        return None
    columns = targets[:, :2]
    if not torch.equal(columns, columns.trunc()):
        return "got labels that are no whole numbers"
    return _why_no_weights(targets[:, 2])


def _why_no_weights(lam: torch.Tensor) -> str | None:
    if _may_look(lam) and not ((lam >= 0) & (lam <= 1)).all():
        return "got weights outside of [0, 1]"
    return None


def _way_out(targets: object) -> str:
    if not isinstance(targets, torch.Tensor):
        return ""
    if is_halved(targets):
        return CAST.format(dtype=str(targets.dtype).removeprefix("torch."), most=HALVES[targets.dtype])
    if targets.is_floating_point():
        return DENSE
    if targets.ndim > 1:
        return "of several heads each has a loss of its own"
    return "class indices are int64: targets.long()"


def check_labels(name: str, labels: torch.Tensor) -> None:
    """Raise a ValueError for labels that float32 doesn't hold.

    On a GPU the check runs there and fails as a device assertion.
    """
    if not labels.numel() or labels.dtype in (torch.uint8, torch.int8, torch.int16):
        return
    if labels.device.type != "cpu":
        torch._assert_async(  # pyright: ignore[reportPrivateImportUsage]  the only check without a synchronization
            labels.abs().max() < MAX_CLASSES, f"{name} must be below 2**24"
        )
    elif int(labels.max()) >= MAX_CLASSES or int(labels.min()) <= -MAX_CLASSES:
        largest = int(labels.max()) if int(labels.max()) >= MAX_CLASSES else int(labels.min())
        raise ValueError(must_be(name, "below 2**24 (16,777,216), which stacked float32 targets hold exactly", largest))


def check_classes(name: str, labels: torch.Tensor, num_classes: int) -> None:
    """Raise a ValueError for labels that are no class.

    On a GPU the check runs there and fails as a device assertion.
    """
    if not labels.numel():
        return
    rule = f"class indices from 0 to {num_classes - 1} (num_classes={num_classes})"
    outside = (labels < 0) | (labels >= num_classes)
    if labels.device.type != "cpu":
        torch._assert_async(~outside.any(), f"{name} must be {rule}")  # pyright: ignore[reportPrivateImportUsage]
    elif outside.any():
        found = labels[outside].unique().tolist()
        remedy = "a label to ignore needs stacked targets" if min(found) < 0 else "num_classes counts all classes"
        raise ValueError(must_be(name, rule, found[0] if len(found) == 1 else found, remedy))


def _check_indices(name: str, labels: torch.Tensor, lam: torch.Tensor, done: str) -> None:
    """Raise a TypeError unless the labels are integers, a ValueError unless they have lam's shape (B,)."""
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        remedy = f"float labels are mixed by `mix`, not {done}" if labels.dtype != torch.bool else BOOLS
        raise TypeError(must_be(name, "an integer tensor (B,)", labels, remedy))
    if labels.shape != lam.shape or labels.ndim != 1:
        remedy = HEADS if labels.ndim > 1 else ""
        raise ValueError(must_be(name, f"of lam's shape {tuple(lam.shape)}", labels, remedy))
