"""Records map.json: maps by PyTorch, SciPy and anomalib's blur. Usage: python gen_map.py"""

import json
import sys
from pathlib import Path

import torch
from anomalib.models.components import GaussianBlur2d
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).parents[1] / "methodtest/testdata"))
from values import rounded, values  # noqa: E402

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


cases = []
for seed, (h, w, H, W, nearest, sigma, torch_edge) in enumerate([
    (6, 5, 24, 20, False, 4, False),
    (10, 9, 40, 36, False, 4, True),
    (10, 9, 40, 36, True, 4, True),
    (3, 2, 12, 8, False, 4, False),  # the kernel is longer than the image, twice mirrored
    (7, 5, 24, 33, False, 1.5, False),  # no whole ratio
    (5, 3, 12, 10, True, 0, False),
    (9, 8, 4, 6, False, 1, False),  # smaller than the grid
    (1, 1, 4, 4, False, 2, False),
]):
    s = torch.from_numpy(values(h * w, seed)).reshape(1, 1, h, w)
    how = {"mode": "nearest"} if nearest else {"mode": "bilinear", "align_corners": False}
    m = torch.nn.functional.interpolate(s, size=(H, W), **how)
    radius = int(4 * sigma + 0.5)
    if sigma and torch_edge:
        m = GaussianBlur2d(sigma=float(sigma), channels=1)(m)
    elif sigma:
        m = torch.from_numpy(gaussian_filter(m[0, 0].numpy(), sigma, mode="reflect"))
    cases.append({
        "cells": [h, w], "size": [H, W], "nearest": nearest, "sigma": sigma, "reflect101": torch_edge, "radius": radius,
        "seed": seed, "map": rounded(m),
    })
Path(__file__).with_name("map.json").write_text(json.dumps(cases) + "\n")
