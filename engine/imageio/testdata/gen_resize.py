"""Writes resize.json: what Pillow, PyTorch and numpy make of small arrays. Run in this folder; needs those three."""
import json

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

torch.set_num_threads(1)
rng = np.random.default_rng(2)
src = rng.random((2, 9, 13), dtype=np.float32)
sizes = [(4, 6), (9, 5), (3, 13), (1, 1), (14, 15), (5, 26), (9, 13)]


def case(a):
    return {"shape": a.shape, "data": [float(f"{v:.9g}") for v in a.ravel()]}


out = {"src": case(src), "pillow": [], "antialias": [], "bilinear": [], "reflect": []}

for h, w in sizes:
    planes = [np.asarray(Image.fromarray(p, mode="F").resize((w, h), Image.Resampling.BILINEAR)) for p in src]
    out["pillow"].append(case(np.stack(planes)))
    t = torch.from_numpy(src)[None]
    out["antialias"].append(case(F.interpolate(t, (h, w), mode="bilinear", antialias=True, align_corners=False)[0].numpy()))
    out["bilinear"].append(case(F.interpolate(t, (h, w), mode="bilinear", align_corners=False)[0].numpy()))
index = np.arange(9 * 13).reshape(1, 9, 13)  # pads keep values, so indices say it all
for top, bottom, left, right in [(0, 3, 0, 2), (2, 3, 4, 5), (0, 20, 0, 30), (9, 10, 14, 15)]:
    padded = np.pad(index, ((0, 0), (top, bottom), (left, right)), mode="reflect")
    out["reflect"].append({"shape": padded.shape, "data": padded.ravel().tolist()})
with open("resize.json", "w") as f:
    json.dump(out, f, separators=(",", ":"))
    f.write("\n")
