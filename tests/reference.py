"""Slow, obvious loops straight from the formulas, in float64; the library must agree with them."""

import numpy as np
import torch


def mix(values, lam, partner):
    """lam * values + (1 - lam) * values[partner], sample by sample."""
    mixed = torch.empty(values.shape, dtype=torch.float64)
    for i in range(len(values)):
        weight = float(lam[i])
        mixed[i] = weight * values[i].double() + (1 - weight) * values[int(partner[i])].double()
    return mixed


def paste(values, boxes, partner):
    """values (B, ..., H, W), pixel by pixel from the partner inside of [top, left, bottom, right]."""
    pasted = values.clone()
    for i in range(len(values)):
        top, left, bottom, right = (int(edge) for edge in boxes[i])
        for row in range(values.shape[-2]):
            for column in range(values.shape[-1]):
                if top <= row < bottom and left <= column < right:
                    pasted[i, ..., row, column] = values[int(partner[i]), ..., row, column]
    return pasted


def dense_targets(labels, partner_labels, lam, num_classes):
    """One-hot rows, weighted and added."""
    rows = torch.zeros(len(labels), num_classes, dtype=torch.float64)
    for i in range(len(labels)):
        rows[i, int(labels[i])] += float(lam[i])
        rows[i, int(partner_labels[i])] += 1 - float(lam[i])
    return rows


def cross_entropy(row, label, *, weight=None, ignore_index=-100, label_smoothing=0.0):
    """l(y) and m(y) of one row of logits (C,)."""
    if label == ignore_index:
        return row.new_zeros(()), 0.0
    log_probs = row - row.exp().sum().log()
    classes = len(row)
    loss = row.new_zeros(())
    for c in range(classes):
        wanted = label_smoothing / classes + (1 - label_smoothing) * (c == label)
        if wanted > 0:
            loss = loss - wanted * (1.0 if weight is None else float(weight[c])) * log_probs[c]
    return loss, 1.0 if weight is None else float(weight[label])


def mixed_loss(loss_of_one, logits, labels, partner_labels, lam, reduction):
    """The reductions of `MixUpLoss`.

    `loss_of_one(row, label)` gives l(y) and m(y). A label of weight 0 adds nothing.
    """
    losses, masses = [], []
    for i in range(len(logits)):
        loss, mass = logits.new_zeros(()), 0.0
        for label, share in ((int(labels[i]), float(lam[i])), (int(partner_labels[i]), 1 - float(lam[i]))):
            if share > 0:
                one, one_mass = loss_of_one(logits[i], label)
                loss, mass = loss + share * one, mass + share * one_mass
        losses.append(loss)
        masses.append(mass)
    if reduction == "none":
        return torch.stack(losses) if losses else logits.new_zeros(0)
    return sum(losses, logits.new_zeros(())) / (sum(masses) if reduction == "mean" else 1)


def accuracy(logits, labels, partner_labels, lam, topk):
    """Dominant and lam-weighted accuracy as two fractions."""
    dominant = weighted = 0.0
    for i in range(len(logits)):
        best = sorted(range(logits.shape[1]), key=lambda c: -float(logits[i, c]))[:topk]
        own, other, share = int(labels[i]) in best, int(partner_labels[i]) in best, float(lam[i])
        dominant += own if share > 0.5 else other
        weighted += share * own + (1 - share) * other
    return dominant / len(logits), weighted / len(logits)


def normalized_batch(levels, mean, std, draw):
    """Mixup or CutMix, and normalization of levels (B, H, W, 3), float64 (B, 3, H, W), sample by sample."""
    result = []
    if hasattr(draw, "boxes"):
        planes = torch.from_numpy(np.array(levels)).permute(0, 3, 1, 2)
        levels, draw = paste(planes, draw.boxes, draw.partner).permute(0, 2, 3, 1).numpy(), None
    for row in range(len(levels)):
        lam, partner = (1.0, row) if draw is None else (float(draw.lam[row]), int(draw.partner[row]))
        mixed = lam * levels[row].astype(np.float64) + (1 - lam) * levels[partner]
        result.append(((mixed / 255 - mean) / std).transpose(2, 0, 1))
    return np.stack(result) if result else np.empty((0, 3, *levels.shape[1:3]))
