"""The loss of mixed batches: lam * loss(y1) + (1 - lam) * loss(y2), in place of one-hot targets."""

from collections.abc import Callable
from functools import partial
from inspect import Parameter, signature, unwrap
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from dali_mixup.errors import check_choice, describe, must_be
from dali_mixup.mixing.targets import Targets, is_labels, unstack_pairs

# Below a vector's width torch's CPU kernel over the last dimension takes four times as long as the one over the first.
FEW_CLASSES = 15
MODULES_OF: dict[Callable[..., torch.Tensor], type[nn.CrossEntropyLoss | nn.NLLLoss]] = {
    functional.cross_entropy: nn.CrossEntropyLoss,
    functional.nll_loss: nn.NLLLoss,
}
WeightedMean = nn.NLLLoss | nn.CrossEntropyLoss  # torch's other losses average over the samples
DENSE_ONLY: set[type[nn.Module]] = {
    *(nn.BCELoss, nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss, nn.MultiLabelMarginLoss, nn.SoftMarginLoss),
    *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.KLDivLoss, nn.PoissonNLLLoss),
}
DENSE_REMEDY = 'a loss on probabilities takes the targets of MixUp(targets="dense", num_classes=...) itself'


class MixUpLoss(nn.Module):
    """Any classification criterion on stacked targets; on plain labels exactly that criterion.

    With l(y) the criterion's unreduced loss (class weights and label smoothing inside) and m(y) = weight[y] * (y !=
    ignore_index), the reductions are

    - "none": lam * l(y1) + (1 - lam) * l(y2) per sample, "sum": its sum,
    - "mean": that sum over the sum of lam * m(y1) + (1 - lam) * m(y2). It equals torch's own mean for lam = 1, for y1 =
      y2 and for one lam per batch. A criterion that has no weighted mean in torch (all but cross-entropy, NLL and what
      hands its `reduction` on to them) has m = 1.

    A label of weight 0 (lam = 1) adds nothing, also where its loss is infinite.

    The criterion is called once, with both labels of all samples: logits (2B, C), labels (2B,), and the `reduction`
    "none", which is as it was afterwards. So its own state is updated once and its hooks run once.

    Args:
        criterion: a module that takes (logits, labels) and has a `reduction` of "none", "mean" or "sum", or a function
            with a default for `reduction`, such as `torch.nn.functional.cross_entropy` or a `functools.partial` of it.

    Raises:
        TypeError, ValueError: another criterion.

    >>> import torch
    >>> criterion = MixUpLoss(torch.nn.CrossEntropyLoss())
    >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
    >>> criterion(logits, torch.tensor([[0.0, 1.0, 0.75]])), criterion(logits, torch.tensor([0]))
    (tensor(0.7395), tensor(0.2395))
    """

    def __init__(self, criterion: nn.Module | Callable[..., torch.Tensor]):
        super().__init__()
        criterion = _as_module(criterion)
        if type(criterion) in DENSE_ONLY:
            raise TypeError(must_be("criterion", "one that takes class indices", criterion, DENSE_REMEDY))
        if not isinstance(criterion, nn.Module) or not hasattr(criterion, "reduction"):
            kinds = (
                "a module with a `reduction`, such as torch.nn.CrossEntropyLoss(), or a function with a default for it"
            )
            raise TypeError(must_be("criterion", kinds, criterion, DENSE_REMEDY))
        check_choice("criterion.reduction", criterion.reduction, ("none", "mean", "sum"))
        self.criterion = criterion

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The loss of a batch.

        Args:
            logits: (B, C) float, what the criterion takes.
            targets: (B, 3) float32 stacked targets or split ones, or (B,) or (B, 1) int64 labels.

        Returns:
            A scalar, or (B,) for the reduction "none".

        Raises:
            TypeError: other targets; dense ones go to the criterion itself. Or a criterion that gives no (B,) losses.
            ValueError: logits of another shape, or on a CPU stacked targets that are none.
        """
        if isinstance(targets, torch.Tensor) and is_labels(targets):
            return self.criterion(logits, targets.flatten())
        labels, share = unstack_pairs(targets)
        if not isinstance(logits, torch.Tensor):
            raise TypeError(must_be("logits", "a tensor (B, C)", logits, "give the model's heads a loss each"))
        if logits.ndim != 2:
            raise ValueError(must_be("logits", "of shape (B, C)", logits, "flatten them: logits.flatten(1)"))
        if len(logits) != len(labels):
            raise ValueError(must_be("logits", f"of the targets' batch size ({len(labels)})", logits))
        if type(self.criterion) is nn.CrossEntropyLoss and not _must_be_called(self.criterion):
            return _mixed_cross_entropy(self.criterion, logits, labels, share)
        return _mixed_criterion(self.criterion, logits, labels, share)


class FunctionLoss(nn.Module):
    """A function that takes (logits, labels, reduction=) as a module.

    Args:
        function: any, such as a `functools.partial`.
        reduction: its own.
    """

    function: Callable[..., torch.Tensor]
    reduction: str

    def __init__(self, function: Callable[..., torch.Tensor], reduction: str):
        super().__init__()
        self.function, self.reduction = function, reduction

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The function's loss."""
        return self.function(logits, labels, reduction=self.reduction)

    def extra_repr(self) -> str:
        """The function."""
        return repr(self.function)


def _as_module(criterion: Any) -> Any:
    """Functions with a default for `reduction` as modules; cross-entropy and NLL as torch's, which know their mean."""
    if isinstance(criterion, nn.Module | type) or not callable(criterion):
        return criterion
    function, options = criterion, {}
    if isinstance(criterion, partial) and not criterion.args:
        function, options = criterion.func, criterion.keywords
    module = MODULES_OF.get(unwrap(function))  # out of torch.compile
    if module is not None:
        return module(**options)
    try:
        parameter = signature(criterion).parameters.get("reduction")
    except ValueError:  # a builtin without a signature
        parameter = None
    if parameter is None or parameter.default is Parameter.empty:
        return criterion
    return FunctionLoss(cast(Callable[..., torch.Tensor], criterion), parameter.default)


def _must_be_called(module: nn.Module) -> bool:
    """Whether someone looks on or has put another `forward` in its place."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(map(bool, hooks)) or "forward" in vars(module) or bool(nn.modules.module._has_any_global_hook())


def _mixed_criterion(
    criterion: nn.Module, logits: torch.Tensor, labels: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Any criterion on labels (B, 2) that count by share (B, 2), in one call for both."""
    reduction = criterion.reduction
    # A label of weight 0 is never looked up: the gradient of an infinite loss is NaN even where the loss itself is
    # masked.
    labels = torch.where(share > 0, labels, labels.flip(1))
    each, reducing = _unreduced(criterion, torch.cat([logits, logits]), labels.t().flatten())
    if not isinstance(each, torch.Tensor) or each.shape != (2 * len(labels),):
        rule = 'one that with reduction = "none" gives a tensor of (B,) losses'
        raise TypeError(must_be("criterion", rule, criterion, f"it gave {describe(each)}; {DENSE_REMEDY}"))
    losses = each.view(2, -1).t()
    share = share.to(losses.dtype)
    mixed = torch.where(share > 0, share * losses, 0)
    if reduction == "none":
        return mixed.sum(1)
    if reduction == "sum":
        return mixed.sum()
    if reducing is not None:
        share = share * _mass(reducing, labels, losses.dtype)
    return mixed.sum() / share.sum()


def _unreduced(criterion: nn.Module, logits: torch.Tensor, labels: torch.Tensor) -> tuple[Any, WeightedMean | None]:
    """What the criterion gives without its reduction, which it gets back whatever happens.

    And whose reduction that was: its own, or that of a module to which it hands it on.
    """
    reduction = criterion.reduction
    known = [part for part in criterion.modules() if isinstance(part, WeightedMean) and part.reduction == reduction]
    try:
        if reduction != "none":
            criterion.reduction = "none"  # pyright: ignore[reportArgumentType]
    except Exception as error:  # a property without a setter; a constant of TorchScript
        rule = "a criterion whose reduction can be set for a moment"
        remedy = 'build it with reduction="none" and average the result, or pass it before torch.jit.script'
        raise TypeError(must_be("criterion", rule, criterion, remedy)) from error
    try:
        reducing = next((part for part in known if part.reduction == "none"), None)
        return criterion(logits, labels), reducing
    except Exception as error:
        error.add_note(f"MixUpLoss called its criterion with {describe(logits)} and {describe(labels)}; {DENSE_REMEDY}")
        raise
    finally:
        if reduction != "none":
            criterion.reduction = reduction


def _mass(criterion: WeightedMean, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """m(y) of labels (B, 2): what torch's mean divides by."""
    valid = (labels != criterion.ignore_index).to(dtype)
    return valid if criterion.weight is None else valid * criterion.weight[torch.where(valid > 0, labels, 0)].to(dtype)


def _mixed_cross_entropy(
    criterion: nn.CrossEntropyLoss, logits: torch.Tensor, labels: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy on labels (B, 2) that count by share (B, 2), from one log-softmax."""
    log_probs = _log_softmax(logits)
    ignored = labels == criterion.ignore_index
    labels, share = labels.masked_fill(ignored, 0), share.to(log_probs.dtype).masked_fill(ignored, 0)
    smoothing, weight = criterion.label_smoothing, criterion.weight
    mass = share if weight is None else share * weight[labels]
    # few operators: for ten classes their number decides
    likelihood = torch.where(mass > 0, log_probs.gather(1, labels) * mass, 0)  # of weight 0 it may be infinite
    if smoothing > 0:
        spread = log_probs.sum(1) if weight is None else log_probs @ weight.to(log_probs.dtype)
        even = torch.where(share > 0, share * spread[:, None], 0)
        likelihood = (1 - smoothing) * likelihood + smoothing / logits.shape[1] * even
    if criterion.reduction == "none":
        return -likelihood.sum(1)
    return -likelihood.sum() if criterion.reduction == "sum" else likelihood.sum() / -mass.sum()


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (B, C)."""
    # As autocast runs cross_entropy itself; on a CPU it leaves log_softmax in half precision.
    wide = logits.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(logits.device.type)
    dtype = torch.float32 if wide else None
    if logits.device.type == "cpu" and logits.shape[1] <= FEW_CLASSES:
        return torch.log_softmax(logits.t(), 0, dtype=dtype).t()
    return torch.log_softmax(logits, 1, dtype=dtype)
