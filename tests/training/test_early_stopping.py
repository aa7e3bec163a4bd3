"""Early stopping, and which epoch is the best."""

from __future__ import annotations

from snvrag.training.early_stopping import EarlyStopping


def test_epochs_without_gain_are_counted():
    stopping = EarlyStopping(patience=2, min_gain=0.01)
    is_best = [stopping.update(e, f1) for e, f1 in enumerate([0.5, 0.505, 0.52, 0.52, 0.525])]
    assert is_best == [True, True, True, False, True]
    assert stopping.should_stop
    assert (stopping.best_epoch, stopping.best_f1) == (4, 0.525)
    never = EarlyStopping(patience=0, min_gain=0.0)
    for epoch in range(50):
        never.update(epoch, 0.1)
    assert not never.should_stop


def test_slow_gains_add_up():
    """Each is below the minimum gain, together they are not."""
    stopping = EarlyStopping(patience=3, min_gain=0.01)
    assert all(stopping.update(e, 0.5 + 0.006 * e) for e in range(9))
    assert not stopping.should_stop
