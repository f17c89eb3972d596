"""MixUpLoss against loops over the formulas, and against torch itself where torch has an answer."""

import copy
import itertools
import math
import pickle
import shutil
from functools import partial

import pytest
import torch
from torch import nn

from dali_mixup import MixUpLoss, stack_targets
from tests import reference

CLASSES = 3  # logits and stacked targets are both (B, 3)
WEIGHT = torch.tensor([0.5, 2.0, 0.25], dtype=torch.float64)
REDUCTIONS = ["none", "mean", "sum"]
EXACT = {"rtol": 1e-12, "atol": 1e-12}


class FocalLoss(nn.Module):
    """A criterion that torch does not know."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, logits, labels):
        log_p = torch.log_softmax(logits, 1).gather(1, labels[:, None])[:, 0]
        loss = -((1 - log_p.exp()) ** 2) * log_p
        return {"none": lambda: loss, "mean": loss.mean, "sum": loss.sum}[self.reduction]()


class FailingLoss(nn.CrossEntropyLoss):
    def forward(self, logits, labels):
        raise ArithmeticError("inside the criterion")


class SharpCrossEntropy(nn.CrossEntropyLoss):
    def forward(self, logits, labels):
        return super().forward(logits * 10, labels)


class StubbornLoss(nn.Module):
    """Has a reduction that it does not use."""

    def __init__(self):
        super().__init__()
        self.reduction, self.inner = "mean", nn.CrossEntropyLoss()

    def forward(self, logits, labels):
        return self.inner(logits, labels)


def batch(batch_size, seed=0, classes=CLASSES):
    """lam lies on a grid on which 1 - lam is exact in float32; 0, 0.5 and 1 come too."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch_size, classes, dtype=torch.float64, generator=g) * 3
    labels, partner_labels = torch.randint(classes, (2, batch_size), generator=g)
    lam = torch.randint(0, 1025, (batch_size,), generator=g) / 1024
    lam[: min(3, batch_size)] = torch.tensor([1.0, 0.0, 0.5])[: min(3, batch_size)]
    return logits, labels, partner_labels, lam


def cross_entropy(reduction, *, weighted=False, smoothing=0.0, ignore_index=-100, kind=nn.CrossEntropyLoss):
    options = {} if kind is nn.NLLLoss else {"label_smoothing": smoothing}
    return kind(weight=WEIGHT if weighted else None, ignore_index=ignore_index, reduction=reduction, **options)


def reference_loss(logits, labels, partner_labels, lam, reduction, *, weighted=False, smoothing=0.0, ignore_index=-100):
    def loss_of_one(row, label):
        weight = WEIGHT if weighted else None
        return reference.cross_entropy(row, label, weight=weight, ignore_index=ignore_index, label_smoothing=smoothing)

    return reference.mixed_loss(loss_of_one, logits, labels, partner_labels, lam, reduction)


def value_and_gradient(loss_of, logits):
    logits = logits.clone().requires_grad_()
    loss = loss_of(logits)
    (gradient,) = torch.autograd.grad(
        loss, logits, torch.linspace(1, 2, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    )
    return loss.detach(), gradient


def assert_same(loss_of, expected_of, logits, **tolerance):
    for got, expected in zip(value_and_gradient(loss_of, logits), value_and_gradient(expected_of, logits), strict=True):
        torch.testing.assert_close(got, expected, **(tolerance or EXACT))


@pytest.mark.parametrize("ignored", ["none", "own", "partner", "both"])
@pytest.mark.parametrize("ignore_index", [-100, 1])
@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_agrees_with_the_reference_in_value_and_gradient(
    reduction, weighted, smoothing, ignore_index, ignored
):
    options = {"weighted": weighted, "smoothing": smoothing, "ignore_index": ignore_index}
    for batch_size in (7, 8):
        logits, labels, partner_labels, lam = batch(batch_size, seed=batch_size)
        if ignored in ("own", "both"):
            labels[[0, 3, 5]] = ignore_index
        if ignored in ("partner", "both"):
            partner_labels[[0, 1, 3]] = ignore_index
        targets = stack_targets(labels, partner_labels, lam)
        assert_same(
            lambda x: MixUpLoss(cross_entropy(reduction, **options))(x, targets),  # noqa: B023
            lambda x: reference_loss(x, labels, partner_labels, lam, reduction, **options),  # noqa: B023
            logits,
        )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_agrees_with_the_reference_for_many_classes(reduction, batch_size):
    logits, labels, partner_labels, lam = batch(batch_size, classes=10)
    targets = stack_targets(labels, partner_labels, lam)
    expected = reference_loss(logits, labels, partner_labels, lam, reduction, smoothing=0.1)
    torch.testing.assert_close(MixUpLoss(cross_entropy(reduction, smoothing=0.1))(logits, targets), expected, **EXACT)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_agrees_with_the_reference_in_value_and_gradient(reduction, weighted, ignored):
    logits, labels, partner_labels, lam = batch(7)
    if ignored:
        labels[3] = partner_labels[1] = -100
    targets = stack_targets(labels, partner_labels, lam)
    criterion = MixUpLoss(cross_entropy(reduction, weighted=weighted, kind=nn.NLLLoss))
    assert_same(
        lambda x: criterion(torch.log_softmax(x, 1), targets),
        lambda x: reference_loss(x, labels, partner_labels, lam, reduction, weighted=weighted),
        logits,
    )


@pytest.mark.parametrize("make", [FocalLoss, lambda reduction: nn.MultiMarginLoss(weight=WEIGHT, reduction=reduction)])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_criterion_without_a_weighted_mean_is_averaged_over_the_samples(make, batch_size, reduction):
    logits, labels, partner_labels, lam = batch(batch_size)
    each = make("none")
    assert_same(
        lambda x: MixUpLoss(make(reduction))(x, stack_targets(labels, partner_labels, lam)),
        lambda x: reference.mixed_loss(
            lambda row, label: (each(row[None], torch.tensor([label]))[0], 1.0),
            x,
            labels,
            partner_labels,
            lam,
            reduction,
        ),
        logits,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_subclass_of_cross_entropy_keeps_its_own_forward(reduction):
    logits, labels, partner_labels, lam = batch(7)
    targets = stack_targets(labels, partner_labels, lam)
    assert_same(
        lambda x: MixUpLoss(SharpCrossEntropy(weight=WEIGHT, reduction=reduction))(x, targets),
        lambda x: reference_loss(x * 10, labels, partner_labels, lam, reduction, weighted=True),
        logits,
    )


# against torch

CASES = list(itertools.product(REDUCTIONS, [False, True], [0, 0.1], [False, True]))


@pytest.mark.parametrize(("reduction", "weighted", "smoothing", "ignored"), CASES)
def test_at_lam_one_the_loss_is_torchs_own(reduction, weighted, smoothing, ignored):
    logits, labels, partner_labels, _ = batch(8)
    if ignored:
        labels[2] = partner_labels[4] = -100
    criterion = cross_entropy(reduction, weighted=weighted, smoothing=smoothing)
    targets = stack_targets(labels, partner_labels, torch.ones(8))
    assert_same(lambda x: MixUpLoss(criterion)(x, targets), lambda x: criterion(x, labels), logits)


@pytest.mark.parametrize(("reduction", "weighted", "smoothing", "ignored"), CASES)
def test_at_equal_labels_the_loss_is_torchs_own(reduction, weighted, smoothing, ignored):
    logits, labels, _, lam = batch(8)
    if ignored:
        labels[2] = -100
    criterion = cross_entropy(reduction, weighted=weighted, smoothing=smoothing)
    targets = stack_targets(labels, labels, lam)
    assert_same(lambda x: MixUpLoss(criterion)(x, targets), lambda x: criterion(x, labels), logits)


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss])
@pytest.mark.parametrize(("reduction", "weighted", "smoothing", "ignored"), CASES)
def test_at_one_lam_per_batch_the_loss_is_the_weighted_sum_of_torchs_own(kind, reduction, weighted, smoothing, ignored):
    logits, labels, _, _ = batch(8)
    if ignored:
        labels[2] = -100
    partner_labels = labels.roll(3)
    criterion = cross_entropy(reduction, weighted=weighted, smoothing=smoothing, kind=kind)
    targets = stack_targets(labels, partner_labels, torch.full((8,), 0.75))
    assert_same(
        lambda x: MixUpLoss(criterion)(x, targets),
        lambda x: 0.75 * criterion(x, labels) + 0.25 * criterion(x, partner_labels),
        logits,
    )


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
@pytest.mark.parametrize(
    "criterion",
    [
        *(cross_entropy(r, weighted=True, smoothing=0.1) for r in REDUCTIONS),
        nn.NLLLoss(),
        FocalLoss(),
        nn.MultiMarginLoss(weight=WEIGHT),
    ],
)
def test_plain_labels_give_exactly_the_criterion(criterion, shape):
    logits, labels, *_ = batch(8)
    assert torch.equal(MixUpLoss(criterion)(logits, labels.reshape(shape)), criterion(logits, labels))


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss, nn.NLLLoss, FocalLoss])
def test_an_empty_batch_gives_what_torch_gives(criterion):
    logits, targets = torch.rand(0, CLASSES), torch.rand(0, 3)
    assert MixUpLoss(criterion(reduction="none"))(logits, targets).shape == (0,)
    assert MixUpLoss(criterion(reduction="sum"))(logits, targets) == 0
    assert MixUpLoss(criterion(reduction="mean"))(logits, targets).isnan()


def test_a_batch_of_ignored_labels_has_no_mean_as_in_torch():
    labels = torch.full((4,), -100)
    logits, targets = torch.rand(4, CLASSES), stack_targets(labels, labels, torch.full((4,), 0.75))
    assert nn.CrossEntropyLoss()(logits, labels).isnan()
    assert MixUpLoss(nn.CrossEntropyLoss())(logits, targets).isnan()
    assert MixUpLoss(nn.CrossEntropyLoss(reduction="sum"))(logits, targets) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda reduction: nn.CrossEntropyLoss(reduction=reduction),
        lambda reduction: nn.CrossEntropyLoss(weight=WEIGHT, reduction=reduction),
        lambda reduction: nn.Sequential(nn.LogSoftmax(1), MixUpLoss(nn.NLLLoss(reduction=reduction))),
        FocalLoss,
    ],
)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("lam", [1.0, 0.0])
def test_a_label_of_weight_zero_adds_nothing_where_its_loss_is_infinite(make, reduction, lam):
    logits, labels, partner_labels, _ = batch(4)
    labels[:], partner_labels[:] = (0, 1) if lam else (1, 0)
    logits[:, 1] = -math.inf
    criterion = make(reduction)

    def loss_of(x):
        targets = stack_targets(labels, partner_labels, torch.full((4,), lam))
        if isinstance(criterion, nn.Sequential):
            return criterion[1](criterion[0](x), targets)
        return MixUpLoss(criterion)(x, targets)

    loss, gradient = value_and_gradient(loss_of, logits)
    alone, alone_gradient = value_and_gradient(
        lambda x: loss_of_plain(criterion, x, torch.zeros(4, dtype=torch.int64)), logits
    )
    assert alone.isfinite().all()
    torch.testing.assert_close(loss, alone, **EXACT)
    torch.testing.assert_close(gradient, alone_gradient, **EXACT)


def loss_of_plain(criterion, logits, labels):
    return (
        criterion[1].criterion(criterion[0](logits), labels)
        if isinstance(criterion, nn.Sequential)
        else criterion(logits, labels)
    )


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), FocalLoss()])
@pytest.mark.parametrize("target", [[0.0, 1, 0.75], [1, 0, 0.75], [1, 0, 1], [0, 1, 0], [1, 1, 1], [1, 1, 0.75]])
def test_a_label_with_weight_and_an_infinite_loss_makes_the_loss_infinite(criterion, target):
    logits = torch.tensor([[0.0, -math.inf, 1.0]])
    assert MixUpLoss(criterion)(logits, torch.tensor([target], dtype=torch.float32)) == math.inf


def test_an_ignored_label_adds_nothing_where_class_zero_has_an_infinite_loss():
    logits = torch.tensor([[-math.inf, 0.0, 1.0]], dtype=torch.float64)
    labels, ignored, lam = torch.tensor([1]), torch.tensor([-100]), torch.tensor([0.75])
    assert_same(
        lambda x: MixUpLoss(nn.CrossEntropyLoss(reduction="sum"))(x, stack_targets(labels, ignored, lam)),
        lambda x: 0.75 * nn.functional.cross_entropy(x, labels),
        logits,
    )


def snapshot(criterion):
    state = {name: value.tolist() for name, value in criterion.state_dict().items()}
    return (
        criterion.reduction,
        criterion.training,
        state,
        sorted(vars(criterion)),
        sorted(criterion._modules),
        sorted(criterion._buffers),
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "criterion",
    [
        *(cross_entropy(r, weighted=True, smoothing=0.1) for r in REDUCTIONS),
        nn.NLLLoss(),
        FocalLoss(),
        nn.MultiMarginLoss(weight=WEIGHT),
    ],
)
def test_the_criterion_is_never_changed(criterion, training):
    criterion = copy.deepcopy(criterion).train(training)
    before = snapshot(criterion)
    logits, labels, partner_labels, lam = batch(5)
    mixed = MixUpLoss(criterion)
    mixed(logits, stack_targets(labels, partner_labels, lam))
    mixed(logits, labels)
    assert mixed.criterion is criterion
    assert snapshot(criterion) == before


@pytest.mark.parametrize(
    "criterion", [FailingLoss(weight=WEIGHT), nn.CrossEntropyLoss(), nn.NLLLoss(), nn.MultiMarginLoss(), FocalLoss()]
)
def test_the_criterion_is_not_changed_by_an_exception_inside_it(criterion):
    before = snapshot(criterion)
    with pytest.raises(
        (ArithmeticError, IndexError, RuntimeError), match=r"inside the criterion|out of bounds|out of range|target"
    ):
        MixUpLoss(criterion)(
            torch.rand(2, CLASSES, dtype=torch.float64), torch.tensor([[0.0, 7.0, 0.75], [1, 2, 0.75]])
        )
    assert snapshot(criterion) == before


def test_moves_modes_copies_and_pickles_work():
    logits, labels, partner_labels, lam = batch(6)
    targets = stack_targets(labels, partner_labels, lam)
    criterion = MixUpLoss(cross_entropy("mean", weighted=True, smoothing=0.1))
    expected = criterion(logits, targets)
    assert torch.equal(copy.deepcopy(criterion)(logits, targets), expected)
    assert torch.equal(pickle.loads(pickle.dumps(criterion))(logits, targets), expected)
    assert not criterion.eval().training
    assert criterion.train().training
    assert torch.equal(criterion.eval()(logits, targets), expected)

    assert list(criterion.state_dict()) == ["criterion.weight"]
    other = MixUpLoss(nn.CrossEntropyLoss(weight=torch.ones(CLASSES, dtype=torch.float64), label_smoothing=0.1))
    assert other(logits, targets) != expected
    other.load_state_dict(criterion.state_dict())
    assert torch.equal(other(logits, targets), expected)

    single = criterion.to(torch.float32)(logits.float(), targets)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("per_mille", [1, 123, 500, 871, 999])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_float32_logits_and_any_lam_agree_with_the_reference(reduction, per_mille):
    logits, labels, partner_labels, _ = batch(64, classes=10)
    lam = torch.full((64,), per_mille / 1000)
    expected = reference_loss(logits.float().double(), labels, partner_labels, lam, reduction)
    got = MixUpLoss(nn.CrossEntropyLoss(reduction=reduction))(
        logits.float(), stack_targets(labels, partner_labels, lam)
    )
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_half_precision_logits_agree_with_the_reference(dtype, reduction, smoothing):
    logits, labels, partner_labels, lam = batch(64, classes=10)
    logits = logits.to(dtype).requires_grad_()
    expected = reference_loss(logits.double(), labels, partner_labels, lam, reduction, smoothing=smoothing)
    criterion = cross_entropy(reduction, smoothing=smoothing)
    got = MixUpLoss(criterion)(logits, stack_targets(labels, partner_labels, lam))
    assert got.dtype == criterion(logits, labels).dtype
    torch.testing.assert_close(got.double(), expected, rtol=2 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)
    got.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(label_smoothing=0.1), nn.NLLLoss(), FocalLoss()])
def test_under_autocast_the_loss_has_the_criterions_precision(criterion):
    logits, labels, partner_labels, lam = batch(64, classes=10)
    targets = stack_targets(labels, partner_labels, lam)
    logits = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert MixUpLoss(criterion)(logits, targets).dtype == criterion(logits, labels).dtype


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(weight=WEIGHT.float(), label_smoothing=0.1),
        nn.CrossEntropyLoss(reduction="none"),
    ],
)
@pytest.mark.parametrize("mixed", [True, False])
def test_a_compiled_loss_has_one_graph_and_the_same_numbers(criterion, mixed):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    compiled = torch.compile(MixUpLoss(criterion), fullgraph=True, backend=backend)
    for seed in range(50):
        logits, labels, partner_labels, lam = batch(8, seed)
        targets = stack_targets(labels, partner_labels, lam) if mixed else labels
        assert_same(
            partial(lambda targets, x: compiled(x, targets), targets),
            partial(lambda targets, x: MixUpLoss(criterion)(x, targets), targets),
            logits.float(),
            rtol=1e-6,
            atol=1e-6,
        )
    assert len(graphs) == 1


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's own compiler needs g++")
@pytest.mark.filterwarnings("ignore")  # what the compiler warns of inside itself
def test_torchs_own_compiler_gives_the_same_training_for_50_steps():
    results = []
    for compile_loss in (False, True):
        torch.manual_seed(0)
        torch.compiler.reset()
        model, criterion = nn.Linear(20, 10), MixUpLoss(nn.CrossEntropyLoss(label_smoothing=0.1))
        compiled = torch.compile(criterion, fullgraph=True) if compile_loss else criterion
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with torch._dynamo.config.patch(error_on_recompile=True):
            for _ in range(50):
                labels = torch.randint(10, (16,))
                loss = compiled(model(torch.randn(16, 20)), stack_targets(labels, labels.roll(1), torch.rand(16)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        results.append(model.weight.detach().clone())
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "got"),
    [
        (torch.rand(4, 10), r"a float32 tensor of shape \(4, 10\)"),
        (torch.rand(4), r"a float32 tensor of shape \(4,\)"),
        (torch.rand(4, 1), r"a float32 tensor of shape \(4, 1\)"),
        (torch.rand(4, 3, 2), r"a float32 tensor of shape \(4, 3, 2\)"),
    ],
)
def test_other_floats_are_an_error_that_says_where_they_belong(targets, got):
    rule, remedy = (
        r"int64 labels \(B,\) or float32 stacked targets \(B, 3\)",
        r"dense targets \(B, C\) go to the criterion itself",
    )
    with pytest.raises(TypeError, match=rf"^targets must be {rule}, got {got}; {remedy}$"):
        MixUpLoss(nn.CrossEntropyLoss())(torch.rand(4, CLASSES), targets)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.arange(4).int(), r"got a int32 tensor of shape \(4,\); class indices are int64: targets.long\(\)"),
        (torch.ones(4, 3).long(), r"got a int64 tensor of shape \(4, 3\); of several heads each has a loss of its own"),
        (torch.tensor(1), r"got a int64 tensor of shape \(\)"),
        ([1, 2], r"got \[1, 2\]$"),
    ],
)
def test_other_integers_are_an_error_that_says_what_to_do(targets, message):
    with pytest.raises(TypeError, match=message):
        MixUpLoss(nn.CrossEntropyLoss())(torch.rand(4, CLASSES), targets)


def test_logits_of_another_batch_size_are_an_error():
    with pytest.raises(
        ValueError, match=r"^logits must be of the targets' batch size \(4\), got a float32 tensor of shape \(2, 3\)"
    ):
        MixUpLoss(nn.CrossEntropyLoss())(torch.rand(2, CLASSES), torch.ones(4, 3))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_criterion_that_ignores_its_reduction_is_an_error(batch_size):
    logits, labels, partner_labels, lam = batch(batch_size)
    with pytest.raises((TypeError, ValueError), match=r"criterion must be .*reduction"):
        MixUpLoss(StubbornLoss())(logits, stack_targets(labels, partner_labels, lam))


@pytest.mark.parametrize(
    ("criterion", "error", "match"),
    [
        (
            lambda logits, labels: 0,
            TypeError,
            r"criterion must be a module with a `reduction`, .* or a function with a default for it, got <func",
        ),
        *(
            (loss(), TypeError, r'criterion must be one that takes class indices.*targets="dense"')
            for loss in (nn.BCEWithLogitsLoss, nn.MSELoss, nn.KLDivLoss)
        ),
        (lambda logits, labels, reduction: 0, TypeError, "or a function with a default for it, got <func"),
        (nn.Linear(2, 2), TypeError, r"criterion must be a module with a `reduction`, .*, got Linear\("),
        (nn.CrossEntropyLoss, TypeError, r"criterion must be a module with a `reduction`, .*, got <class"),
        (
            FocalLoss(reduction="batchmean"),
            ValueError,
            r'criterion.reduction must be "none", "mean" or "sum", got \'batchmean\'',
        ),
    ],
)
def test_a_criterion_that_cannot_be_used_is_named(criterion, error, match):
    with pytest.raises(error, match=match):
        MixUpLoss(criterion)


# criteria of every make


class Wrapped(nn.Module):
    """Hands its reduction on, as `torch.compile` and wrappers do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    @property
    def reduction(self):
        return self.inner.reduction

    @reduction.setter
    def reduction(self, value):
        self.inner.reduction = value

    def forward(self, logits, labels):
        return self.inner(logits, labels)


class Counting(FocalLoss):
    """Keeps count in an attribute and in a buffer."""

    def __init__(self, reduction="mean"):
        super().__init__(reduction)
        self.step = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, logits, labels):
        self.step += 1
        self.seen += 1
        return super().forward(logits, labels)


class Fixed(FocalLoss):
    reduction = property(lambda self: "mean", lambda self, value: None if value == "mean" else self._refuse())
    refusal = AttributeError("fixed")

    def _refuse(self):
        raise self.refusal


class Checked(Fixed):
    refusal = ValueError("fixed")


def check_against_the_formula(criterion, module, reduction, **options):
    logits, labels, partner_labels, lam = batch(7)
    targets = stack_targets(labels, partner_labels, lam)
    expected = MixUpLoss(module(reduction))
    assert_same(lambda x: MixUpLoss(criterion)(x, targets), lambda x: expected(x, targets), logits, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_criterion_that_hands_its_reduction_on_gets_it_back(reduction):
    inner = FocalLoss(reduction)
    check_against_the_formula(Wrapped(inner), FocalLoss, reduction)
    assert inner.reduction == reduction
    failing = FailingLoss(reduction=reduction)
    with pytest.raises(ArithmeticError):
        MixUpLoss(Wrapped(failing))(torch.rand(2, 3), stack_targets(*torch.zeros(2, 2).long(), torch.rand(2)))
    assert failing.reduction == reduction


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_criterion_keeps_its_reduction():
    inner = FocalLoss("mean")
    compiled = torch.compile(inner, backend="eager")
    check_against_the_formula(compiled, FocalLoss, "mean")
    assert inner.reduction == compiled.reduction == "mean"


@pytest.mark.parametrize("wrap", [Wrapped, lambda inner: torch.compile(inner, backend="eager")])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_delegated_mean_is_weighted_as_that_of_the_criterion_behind_it(wrap, reduction, weighted):
    torch.compiler.reset()
    logits, labels, partner_labels, lam = batch(7)
    labels[3] = partner_labels[1] = -100
    inner = cross_entropy(reduction, weighted=weighted, smoothing=0.1)
    found = MixUpLoss(wrap(inner))(logits, stack_targets(labels, partner_labels, lam))
    expected = reference_loss(logits, labels, partner_labels, lam, reduction, weighted=weighted, smoothing=0.1)
    torch.testing.assert_close(found, expected, **EXACT)
    plain = MixUpLoss(wrap(inner))(logits, stack_targets(labels, partner_labels, torch.ones(7)))
    torch.testing.assert_close(plain, inner(logits, labels), **EXACT)
    assert inner.reduction == reduction


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_criterion_counts_each_call_once(reduction):
    criterion = Counting(reduction)
    logits, labels, partner_labels, lam = batch(7)
    MixUpLoss(criterion)(logits, stack_targets(labels, partner_labels, lam))
    assert (criterion.step, float(criterion.seen), criterion.reduction) == (1, 1, reduction)


@pytest.mark.parametrize("make", [nn.CrossEntropyLoss, FocalLoss])
def test_hooks_run_once_per_call(make):
    criterion, seen = make(), []
    criterion.register_forward_hook(lambda *_: seen.append(1))
    check_against_the_formula(criterion, lambda reduction: make(reduction=reduction), "mean")
    assert len(seen) == 1


@pytest.mark.parametrize(
    "register",
    [
        lambda criterion, hook: criterion.register_forward_pre_hook(hook),
        lambda criterion, hook: criterion.register_full_backward_hook(hook),
        lambda criterion, hook: criterion.register_full_backward_pre_hook(hook),
        lambda criterion, hook: nn.modules.module.register_module_forward_hook(hook),
    ],
)
def test_hooks_of_every_kind_run_once_per_call(register):
    criterion, seen = nn.CrossEntropyLoss(), []
    handle = register(criterion, lambda module, *_: seen.append(module) if module is criterion else None)
    logits, labels, partner_labels, lam = batch(5)
    MixUpLoss(criterion)(logits.requires_grad_(), stack_targets(labels, partner_labels, lam)).backward()
    handle.remove()
    assert seen == [criterion]


def test_a_forward_that_was_replaced_is_the_one_that_runs():
    logits, labels, partner_labels, lam = batch(7)
    criterion = nn.CrossEntropyLoss()
    plain = criterion.forward
    criterion.forward = lambda logits, labels: plain(logits * 10, labels)
    assert_same(
        lambda x: MixUpLoss(criterion)(x, stack_targets(labels, partner_labels, lam)),
        lambda x: reference_loss(x * 10, labels, partner_labels, lam, "mean"),
        logits,
    )


class SoftCrossEntropy(FocalLoss):
    """Takes probabilities alone."""

    def forward(self, logits, targets):
        loss = -(targets * torch.log_softmax(logits, 1)).sum(1)
        return loss.mean() if self.reduction == "mean" else loss


def test_what_a_criterion_raises_says_how_it_was_called_and_the_way_out():
    criterion = SoftCrossEntropy()
    with pytest.raises(RuntimeError, match="must match the size") as raised:
        MixUpLoss(criterion)(torch.rand(4, CLASSES), stack_targets(*torch.zeros(2, 4).long(), torch.rand(4)))
    (note,) = raised.value.__notes__
    assert "a float32 tensor of shape (8, 3) and a int64 tensor of shape (8,)" in note
    assert 'targets="dense"' in note
    assert criterion.reduction == "mean"


@pytest.mark.parametrize(
    "wrap", [nn.CrossEntropyLoss, FocalLoss, Counting, lambda: Wrapped(nn.CrossEntropyLoss(WEIGHT))]
)
def test_a_compiled_loss_of_any_criterion_is_one_graph(wrap):
    torch.compiler.reset()
    criterion = wrap()
    compiled = torch.compile(MixUpLoss(criterion), fullgraph=True, backend="eager")
    for seed in range(3):
        logits, labels, partner_labels, lam = batch(8, seed)
        targets = stack_targets(labels, partner_labels, lam)
        torch.testing.assert_close(compiled(logits, targets), MixUpLoss(wrap())(logits, targets), **EXACT)
    assert criterion.reduction == "mean"


def test_a_subclass_that_takes_class_indices_is_believed():
    class OneHot(nn.BCEWithLogitsLoss):
        def forward(self, logits, labels):
            loss = nn.functional.binary_cross_entropy_with_logits(
                logits, nn.functional.one_hot(labels, CLASSES).to(logits.dtype), reduction="none"
            ).sum(1)
            return loss if self.reduction == "none" else loss.mean()

    logits, labels, partner_labels, _ = batch(6)
    criterion = OneHot()
    targets = stack_targets(labels, partner_labels, torch.full((6,), 0.75))
    expected = 0.75 * criterion(logits, labels) + 0.25 * criterion(logits, partner_labels)
    torch.testing.assert_close(MixUpLoss(criterion)(logits, targets), expected, **EXACT)


def test_timms_losses_are_refused_with_the_way_out():
    timm_loss = pytest.importorskip("timm.loss")
    for criterion in (timm_loss.SoftTargetCrossEntropy(), timm_loss.LabelSmoothingCrossEntropy()):
        with pytest.raises(TypeError, match=r'criterion must be a module with a `reduction`.*targets="dense"'):
            MixUpLoss(criterion)
    with pytest.raises(TypeError, match=r'it gave a float32 tensor of shape \(8, 3\).*targets="dense"'):
        MixUpLoss(timm_loss.BinaryCrossEntropy())(
            torch.rand(4, CLASSES), stack_targets(*torch.zeros(2, 4).long(), torch.rand(4))
        )


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_criterion_is_refused_in_words():
    with pytest.raises(TypeError, match=r"pass it before torch\.jit\.script"):
        MixUpLoss(torch.jit.script(nn.CrossEntropyLoss()))(
            torch.rand(4, CLASSES), stack_targets(*torch.zeros(2, 4).long(), torch.rand(4))
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignored", [False, True])
def test_a_compiled_cross_entropy_function_is_cross_entropy(reduction, ignored):
    torch.compiler.reset()
    logits, labels, partner_labels, lam = batch(7)
    if ignored:
        labels[3] = partner_labels[1] = -100
    criterion = partial(torch.compile(nn.functional.cross_entropy, backend="eager"), weight=WEIGHT, reduction=reduction)
    expected = reference_loss(logits, labels, partner_labels, lam, reduction, weighted=True)
    targets = stack_targets(labels, partner_labels, lam)
    torch.testing.assert_close(MixUpLoss(criterion)(logits, targets), expected, **EXACT)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("function", "module"),
    [
        (nn.functional.cross_entropy, nn.CrossEntropyLoss),
        (
            partial(nn.functional.cross_entropy, label_smoothing=0.1, weight=WEIGHT),
            partial(nn.CrossEntropyLoss, label_smoothing=0.1, weight=WEIGHT),
        ),
        (nn.functional.multi_margin_loss, nn.MultiMarginLoss),
    ],
)
def test_a_function_that_takes_a_reduction_is_its_module(function, module, reduction):
    check_against_the_formula(
        partial(function, reduction=reduction), lambda reduction: module(reduction=reduction), reduction
    )
    if reduction == "mean":
        check_against_the_formula(function, lambda _: module(), "mean")


def test_a_function_may_be_printed_and_pickled():
    criterion = MixUpLoss(nn.functional.multi_margin_loss)
    assert "multi_margin_loss" in repr(criterion)
    logits, labels, partner_labels, lam = batch(4)
    targets = stack_targets(labels, partner_labels, lam)
    torch.testing.assert_close(pickle.loads(pickle.dumps(criterion))(logits, targets), criterion(logits, targets))


@pytest.mark.parametrize(
    ("criterion", "error", "message"),
    [
        (Checked(), TypeError, "a criterion whose reduction can be set for a moment"),
        (Fixed(), TypeError, 'a criterion whose reduction can be set for a moment.*build it with reduction="none"'),
        (
            StubbornLoss(),
            TypeError,
            r"gives a tensor of \(B,\) losses.*it gave tensor|it gave a float32 tensor of shape \(\)",
        ),
        (
            type("Pair", (FocalLoss,), {"forward": lambda self, x, y: (x, y)})(),
            TypeError,
            "it gave a tuple of a float32 tensor",
        ),
        (type("Named", (FocalLoss,), {"forward": lambda self, x, y: {"loss": x}})(), TypeError, r"it gave \{'loss'"),
    ],
)
def test_a_criterion_that_gives_no_losses_is_an_error_in_words(criterion, error, message):
    targets = stack_targets(*torch.zeros(2, 4).long(), torch.rand(4))
    with pytest.raises(error, match=message):
        MixUpLoss(criterion)(torch.rand(4, CLASSES), targets)


@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        (
            torch.rand(4, 3, 1, 1),
            ValueError,
            r"logits must be of shape \(B, C\), .*; flatten them: logits.flatten\(1\)",
        ),
        (torch.rand(4), ValueError, r"logits must be of shape \(B, C\)"),
        ((torch.rand(4, 3), torch.rand(4, 3)), TypeError, "give the model's heads a loss each"),
        ({"logits": torch.rand(4, 3)}, TypeError, r"logits must be a tensor \(B, C\)"),
    ],
)
def test_logits_of_another_form_are_an_error_in_words(logits, error, message):
    targets = stack_targets(*torch.zeros(2, 4).long(), torch.rand(4))
    for criterion in (nn.CrossEntropyLoss(), FocalLoss()):
        with pytest.raises(error, match=message):
            MixUpLoss(criterion)(logits, targets)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("make", [FocalLoss, lambda reduction: nn.CrossEntropyLoss(reduction=reduction)])
def test_split_and_float64_targets_give_the_same_loss(make, reduction):
    logits, labels, partner_labels, lam = batch(7)
    stacked, criterion = stack_targets(labels, partner_labels, lam), MixUpLoss(make(reduction))
    expected = criterion(logits, stacked)
    for targets in (stacked.double(), (stacked[:, :2].long(), lam), [stacked[:, :2].long(), lam.double()]):
        torch.testing.assert_close(criterion(logits, targets), expected, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halved_targets_say_what_the_trainer_did(dtype):
    with pytest.raises(TypeError, match=r"the trainer has cast them \(bf16-true.*split"):
        MixUpLoss(nn.CrossEntropyLoss())(torch.rand(4, CLASSES), torch.ones(4, 3, dtype=dtype))


@pytest.mark.parametrize("weight", [-0.5, 1.5, math.nan])
def test_split_targets_with_other_weights_are_refused(weight):
    targets = torch.zeros(4, 2).long(), torch.full((4,), weight)
    with pytest.raises(ValueError, match=r"got weights outside of \[0, 1\]"):
        MixUpLoss(nn.CrossEntropyLoss())(torch.rand(4, CLASSES), targets)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("make", [FocalLoss, lambda: nn.CrossEntropyLoss(label_smoothing=0.1)])
def test_the_default_dtype_changes_no_loss(default, make):
    logits, labels, partner_labels, lam = batch(7)
    targets = stack_targets(labels, partner_labels, lam)
    expected = MixUpLoss(make())(logits.float(), targets)
    torch.set_default_dtype(default)
    try:
        found = MixUpLoss(make())(logits.float(), targets)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_split_weights_cast_to_halves_count_in_float32():
    """Their complement would lose bits that the other label needs."""
    logits, labels, partner_labels, lam = batch(7)
    lam = torch.full((7,), 0.1).bfloat16()
    targets = torch.stack([labels, partner_labels], 1), lam
    expected = reference_loss(logits, labels, partner_labels, lam.double(), "sum")
    found = MixUpLoss(nn.CrossEntropyLoss(reduction="sum"))(logits, targets)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_dense_rows_of_three_classes_are_refused():
    with pytest.raises(ValueError, match="got labels that are no whole numbers"):
        MixUpLoss(nn.CrossEntropyLoss())(torch.rand(4, CLASSES), torch.rand(4, 3).softmax(1))
