"""Records golden.json: PatchCore by anomalib's own classes, and the paper's variant in PyTorch, both in float64.
Usage: python gen_golden.py"""

import json
import sys
from pathlib import Path
from unittest import mock

import torch
from anomalib.models.components import KCenterGreedy, SparseRandomProjection
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.models.image.patchcore.anomaly_map import AnomalyMapGenerator
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "methodtest/testdata"))
from values import batch, rounded, values  # noqa: E402

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)

LAYERS = [(5, 8, 10), (4, 4, 5), (3, 2, 3)]
TRAIN, TEST = 9, 3
H, W = LAYERS[0][1:]
RATIO, EMBED_DIM, PROJECT_DIM = 0.1, 40, 6
STARTS = [17, 3, 600, 250, 81, 333, 404, 555, 7, 199]


def gradient(embed, bank, winners, squared):
    f = [x.requires_grad_() for x in batch(LAYERS, TRAIN, TEST)]
    d = ((embed(f) - bank[winners]) ** 2).sum(1)
    weight = torch.from_numpy(values(TEST * H * W, 777))
    ((d if squared else d.sqrt()) * weight).sum().backward()
    return [rounded(x.grad) for x in f]


def anomalib():
    model = PatchcoreModel.__new__(PatchcoreModel)  # without its backbone
    torch.nn.Module.__init__(model)
    model.layers, model.num_neighbors = ["a", "b", "c"], 9
    pool = torch.nn.AvgPool2d(3, 1, 1)  # model.feature_pooler

    def embed(f):
        return model.reshape_embedding(model.generate_embedding({k: pool(x) for k, x in zip(model.layers, f)}))

    train = embed(batch(LAYERS, 0, TRAIN))
    matrix = torch.from_numpy(values(PROJECT_DIM * train.shape[1], 778)).reshape(PROJECT_DIM, -1)
    sampler = KCenterGreedy(train, RATIO)
    with (
        mock.patch.object(SparseRandomProjection, "fit"),
        mock.patch.object(SparseRandomProjection, "transform", lambda _, x: x @ matrix.T),
        mock.patch("torch.randint", lambda **_: torch.tensor([STARTS[0]])),
    ):
        coreset = sampler.select_coreset_idxs()
    bank = train[coreset]
    model.register_buffer("memory_bank", bank)
    test = embed(batch(LAYERS, TRAIN, TEST))
    scores, winners = model.nearest_neighbors(test, 1)
    scores, locations = scores.reshape(TEST, -1), winners.reshape(TEST, -1)
    maps = AnomalyMapGenerator(sigma=4)(scores.reshape(TEST, 1, H, W), (4 * H, 4 * W))
    return {
        "dims": [int(SparseRandomProjection._johnson_lindenstrauss_min_dim(n, 0.9)) for n in (10, 1000, 200_000)],
        "embedding": rounded(test[:H * W : 7]), "coreset": coreset, "scores": rounded(scores), "winners": winners.tolist(),
        "image": rounded(model.compute_anomaly_score(scores, locations, test)), "map": rounded(maps[-1, 0, ::3, ::3]),
        "grads": gradient(embed, bank, winners, False),
    }


def paper():
    def embed(f):
        pooled = []
        for x in f:
            n, c, h, w = x.shape
            patches = F.unfold(x, 3, padding=1).reshape(n, c * 9, h, w)
            patches = F.interpolate(patches, size=(H, W), mode="bilinear", align_corners=False)
            patches = patches.permute(0, 2, 3, 1).reshape(n * H * W, 1, c * 9)
            pooled.append(F.adaptive_avg_pool1d(patches, EMBED_DIM))
        return F.adaptive_avg_pool1d(torch.stack(pooled, 1).reshape(len(pooled[0]), 1, -1), EMBED_DIM)[:, 0]

    train = embed(batch(LAYERS, 0, TRAIN))
    matrix = torch.from_numpy(values(PROJECT_DIM * EMBED_DIM, 778)).reshape(PROJECT_DIM, -1)
    small = train @ matrix.T
    nearest = torch.cdist(small, small[STARTS]).mean(1)
    coreset = []
    for _ in range(int(len(train) * RATIO)):
        coreset.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (small - small[coreset[-1]]).norm(dim=1))
    bank = train[coreset]
    test = embed(batch(LAYERS, TRAIN, TEST))
    squared = ((test[:, None] - bank) ** 2).sum(2)
    scores, winners = squared.min(1)
    scores = scores.reshape(TEST, H, W)
    up = F.interpolate(scores[:, None], scale_factor=4, mode="bilinear", align_corners=False)[-1, 0]
    return {
        "embedding": rounded(test[:H * W : 7]), "coreset": coreset, "scores": rounded(scores), "winners": winners.tolist(),
        "image": rounded(scores.amax((1, 2))), "map": rounded(gaussian_filter(up.numpy(), 4, mode="reflect")[::3, ::3]),
        "grads": gradient(embed, bank, winners, True),
    }


golden = {"anomalib": anomalib(), "paper": paper()}
Path(__file__).with_name("golden.json").write_text(json.dumps(golden) + "\n")
