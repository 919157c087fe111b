"""Use of images: the views say what a plain model says, and never `unused` of an image that an instance named."""

from __future__ import annotations

from collections import Counter

import use_model


def test_the_use_of_images_is_that_of_the_model_at_every_observation_and_unused_is_true(tmp_path):
    counts: Counter[str] = Counter()
    for seed in range(3):
        counts += use_model.compare(tmp_path / f"{seed}", seed, every=3)

    assert all(counts[each] for each in ("in use", "unused", "not known", "deleted", "never listed")), counts
