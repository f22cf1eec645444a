"""Records golden.json: PaDiM in NumPy and PyTorch (float64), and by anomalib's own classes. Usage: python gen_golden.py"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from anomalib.models.components import MultiVariateGaussian
from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).parents[2] / "methodtest/testdata"))
from values import batch, rounded, values  # noqa: E402

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)

LAYERS = [(5, 8, 10), (4, 4, 5), (3, 2, 3)]
KEPT = [0, 2, 3, 6, 7, 9, 11]
TRAIN, TEST = 9, 3
H, W = LAYERS[0][1:]


def concat(f):
    up = [torch.nn.functional.interpolate(x, size=(H, W), mode="nearest") for x in f]
    return torch.cat(up, 1)[:, KEPT]


def record(mean, inverse, paper_map):
    """mean [hw,K], inverse [hw,K,K]: scores, their gradient, and the last image's map and image score."""
    f = [x.requires_grad_() for x in batch(LAYERS, TRAIN, TEST)]
    d = concat(f).flatten(2).permute(2, 0, 1) - torch.from_numpy(mean)[:, None]
    s = torch.einsum("vnk,vkl,vnl->nv", d, torch.from_numpy(inverse), d).sqrt()
    weight = torch.from_numpy(values(TEST * H * W, 777)).reshape(TEST, H * W)
    (s * weight).sum().backward()
    out = {"scores": rounded(s.detach()), "grads": [rounded(x.grad) for x in f]}
    if paper_map:
        last = torch.nn.functional.interpolate(s.detach().reshape(TEST, 1, H, W), scale_factor=4, mode="bilinear")[-1, 0]
        m = gaussian_filter(last.numpy(), 4, mode="reflect")
        out |= {"map": rounded(m[::3, ::3]), "image": rounded(m.max())}
    return out


train = concat(batch(LAYERS, 0, TRAIN)).numpy()  # [N,K,h,w]
K = len(KEPT)
flat = train.reshape(TRAIN, K, H * W)
mean = flat.mean(0).T
cov = np.stack([np.cov(flat[:, :, v], rowvar=False) for v in range(H * W)])
eye = np.eye(K)
golden = {"paper": record(mean, np.linalg.inv(cov + 0.01 * eye), True)}

grid = cov.reshape(H, W, K, K)
pooled = np.stack([
    grid[max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3].mean((0, 1)) for i in range(H) for j in range(W)
])
golden["f2pad"] = record(mean, np.linalg.inv(0.7 * pooled + 0.3 * cov.mean(0) + 0.01 * eye), True)

texture = flat.transpose(0, 2, 1).reshape(-1, K)
golden["native"] = record(
    np.repeat(texture.mean(0)[None], H * W, 0),
    np.repeat(np.linalg.inv(np.cov(texture, rowvar=False) + 0.01 * eye)[None], H * W, 0),
    True,
)

gaussian = MultiVariateGaussian()
a_mean, a_inverse = gaussian.fit(torch.from_numpy(train))
golden["anomalib"] = record(a_mean.T.numpy(), a_inverse.numpy(), False)
test = concat(batch(LAYERS, TRAIN, TEST))
generator = AnomalyMapGenerator(sigma=4)
scores = generator.compute_distance(test, [a_mean, a_inverse])
assert np.allclose(scores.flatten(), golden["anomalib"]["scores"], rtol=1e-7)
maps = generator(embedding=test, mean=a_mean, inv_covariance=a_inverse, image_size=(4 * H, 4 * W))
golden["anomalib"] |= {"map": rounded(maps[-1, 0, ::3, ::3]), "image": rounded(maps[-1].amax())}
Path(__file__).with_name("golden.json").write_text(json.dumps(golden) + "\n")
