"""Numbers that the golden scripts and the Go tests make alike, and how results are recorded."""

import numpy as np
import torch


def values(count, seed):
    """methodtest.Values: numbers in [-1,1), multiples of 2^-23."""
    i = np.arange(count, dtype=np.uint64) + np.uint64(seed * 1000003)
    mask = np.uint64(0xFFFFFFFF)
    h = (i * np.uint64(2654435761)) & mask
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(2246822519)) & mask
    h ^= h >> np.uint64(13)
    return (h >> np.uint64(8)).astype(np.float64) / 2**23 - 1


def batch(layers, first, count):
    """methodtest.Golden: the layers of images first, first+1, ... as [N,C,h,w]."""
    return [
        torch.from_numpy(
            np.stack([values(c * h * w, (first + n) * len(layers) + l) for n in range(count)]).reshape(count, c, h, w)
        )
        for l, (c, h, w) in enumerate(layers)
    ]


def rounded(x):
    return [float(f"{v:.8g}") for v in np.asarray(x).ravel().tolist()]
