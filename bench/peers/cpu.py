"""What bench/cpu measures, done with the libraries that people use for it today: PyTorch, ONNX Runtime from Python, faiss,
anomalib, and F2PAD itself in PyTorch (f2pad_torch.py).

It answers lines of JSON on standard input with lines of JSON. "hello" gives the versions; "open" sets a case up in every way
that is installed; "check" runs a way once and writes what it computed as float32, to be compared with ours; "run" runs it
once and says how many seconds that took; "close" lets the case go. Arrays travel as raw files of float32.
"""

import copy
import gc
import importlib
import json
import os
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable

threads = os.cpu_count()


@dataclass
class Way:
    """One way to do the work: call(), whose result outputs() turns into arrays. timed(), if any, runs it and returns seconds."""

    call: Callable
    outputs: Callable
    note: str = ""
    timed: Callable = None

    def seconds(self):
        if self.timed:
            return self.timed()
        began = time.perf_counter()
        self.call()
        return time.perf_counter() - began


class Missing(Exception):
    """A module is not installed."""


def need(*names):
    """The modules; torch computes on as many threads as asked for."""
    found = []
    for name in names:
        try:
            m = importlib.import_module(name)
        except ImportError as e:
            raise Missing(f"{name.split('.')[0]} is not installed in {sys.executable} ({e})") from None
        if name == "torch" and m.get_num_threads() != threads:
            m.set_num_threads(threads)
        found.append(m)
    return found[0] if len(found) == 1 else found


def load(path, *shape):
    np = need("numpy")
    return np.fromfile(path, np.float32).reshape(*shape)


def fastest(ways, rounds=3):
    """The fastest of named callables, tried in turn, and a note on the others."""
    took = {name: [] for name in ways}
    for round in range(rounds + 1):
        for name, call in ways.items():
            began = time.perf_counter()
            call()
            if round:
                took[name].append(time.perf_counter() - began)
    took = {name: min(t) for name, t in took.items()}
    best = min(took, key=took.get)
    others = ", ".join(f"{name} takes {t / took[best]:.2f} x" for name, t in took.items() if name != best)
    return best, best + (f" ({others})" if others else "")


# Networks and convolutions


def fold(module):
    """Batch normalisation folded into the convolutions before it, as in the exported file."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    last = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and last is not None:
            setattr(module, last[0], fuse_conv_bn_eval(last[1], child))
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.Conv2d):
            last = name, child
        else:
            fold(child)
            last = None
    return module


def pad(module):
    """Padding that is a module of its own put into the convolution behind it, where that can have it: as much on both sides."""
    from torch import nn

    for m in module.modules():
        zeros = getattr(m, "static_padding", None)
        if isinstance(m, nn.Conv2d) and isinstance(zeros, nn.ZeroPad2d):
            left, right, top, bottom = zeros.padding
            if left == right and top == bottom:
                m.padding, m.static_padding = (top, left), nn.Identity()
    return module


def net(arch):
    """The exported network in PyTorch."""
    import export

    need(*packages(arch))
    return pad(fold(export.build(arch)[0])).requires_grad_(False)


def packages(arch):
    """Where a network comes from."""
    import export

    return ("torch", "efficientnet_lite_pytorch" if arch == export.LITE else "torchvision")


def network(arch, onnx, batch, size, image, gradient, seeds=()):
    """Features of images, and the gradient of sum_l <seed_l, feature_l> w.r.t. the images."""
    shape = batch, 3, size, size
    yield "PyTorch", lambda: torch_network(arch, load(image, *shape), gradient, seeds)
    if not gradient:
        yield "onnxruntime (Python)", lambda: onnxruntime(onnx, load(image, *shape))


def layouts(torch, way):
    """The faster of a way with contiguous tensors and with channels last."""
    shaped = {"contiguous": way(torch.contiguous_format), "channels_last": way(torch.channels_last)}
    best, note = fastest(shaped)
    return shaped[best], note


def torch_network(arch, x, gradient, seeds):
    torch = need("torch")
    plain = net(arch)

    def way(layout):
        model = copy.deepcopy(plain).to(memory_format=layout)
        image = torch.from_numpy(x).to(memory_format=layout, copy=True)

        def forward():
            with torch.inference_mode():
                return model(image)

        if not gradient:
            return forward
        shapes = [f.shape for f in model(image)]
        dout = [torch.from_numpy(load(s, *h)).to(memory_format=layout) for s, h in zip(seeds, shapes)]
        image.requires_grad_()

        def both():
            features = model(image)
            (dx,) = torch.autograd.grad(features, image, dout)
            return [f.detach() for f in features] + [dx]

        return both

    call, note = layouts(torch, way)
    return Way(call, lambda out: [t.contiguous().numpy() for t in out], note)


def onnxruntime(path, x):
    ort = need("onnxruntime")
    o = ort.SessionOptions()
    o.intra_op_num_threads = threads
    s = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
    name = s.get_inputs()[0].name
    return Way(lambda: s.run(None, {name: x}), lambda out: out, f"{s.get_providers()[0]}")


def conv(channels, size, batch, image, weights, bias):
    """One 3x3 convolution."""

    def build():
        torch = need("torch")
        x = load(image, batch, channels, size, size)
        w, b = load(weights, channels, channels, 3, 3), torch.from_numpy(load(bias, channels))

        def way(layout):
            image, weight = (torch.from_numpy(v).to(memory_format=layout) for v in (x, w))

            def call():
                with torch.inference_mode():
                    return torch.nn.functional.conv2d(image, weight, b, padding=1)

            return call

        call, note = layouts(torch, way)
        return Way(call, lambda out: [out.contiguous().numpy()], note)

    yield "PyTorch", build


# Nearest neighbours


def knn(dim, bank, queries, bank_file, query_file, graph=False):
    """The nearest of a bank for each query: squared distances, and indices. With graph also by a graph, which may miss it."""

    def build(made, note):
        faiss = need("faiss")
        faiss.omp_set_num_threads(threads)
        index = made(faiss)
        index.add(load(bank_file, bank, dim))
        q = load(query_file, queries, dim)
        return Way(lambda: index.search(q, 1), lambda out: [a[:, 0] for a in out], f"{note}, {kernels('faiss')}")

    def hnsw(faiss):
        index = faiss.IndexHNSWFlat(dim, 32)
        index.hnsw.efSearch = 64
        return index

    yield "faiss", lambda: build(lambda faiss: faiss.IndexFlatL2(dim), "IndexFlatL2")
    if graph:
        yield "faiss, graph", lambda: build(hnsw, "IndexHNSWFlat, 32 neighbours, efSearch 64")


def kernels(library):
    """Which kernels the BLAS of a library uses."""
    try:
        import threadpoolctl
    except ImportError:
        return "kernels unknown: threadpoolctl is not installed"
    found = [i for i in threadpoolctl.threadpool_info() if i["user_api"] == "blas" and library in i["filepath"]]
    return ", ".join(f"{i['internal_api']} {i['version']} with {i['architecture']} kernels" for i in found) or "no BLAS of its own"


# F2PAD


def fitted(state):
    """What a fitted model holds: its description and its arrays by name."""
    np = need("numpy")
    with open(os.path.join(state, "model.json")) as f:
        model = json.load(f)
    return model, {
        name: np.fromfile(os.path.join(state, name + ".bin"), a["type"]).reshape(a["shape"])
        for name, a in model["arrays"].items()
    }


def f2pad(arch, state, images, batch, size, iterations, seeds):
    """Whole refinement and one iteration. state is a folder with the model's fitted state."""
    yield "PyTorch", lambda: refiner_ways(arch, state, images, batch, size, iterations, seeds)


def refiner_ways(arch, state, images, batch, size, iterations, seeds):
    torch, np, _, _ = need("torch", "numpy", "torchvision", "scipy")
    import f2pad_torch

    model, arrays = fitted(state)
    y = load(images, batch, 3, size, size)
    memory = [arrays[name] for name in sorted(arrays) if name.startswith("memory")]
    plain = net(arch)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    nets = {"contiguous": plain, "channels_last": lambda x: last(x.contiguous(memory_format=torch.channels_last))}

    def gradient(network):
        def call():
            x = torch.from_numpy(y).requires_grad_()
            return torch.autograd.grad(sum(f.sum() for f in network(x)), x)

        return call

    best, note = fastest({name: gradient(n) for name, n in nets.items()})
    with torch.inference_mode():
        features = plain(torch.from_numpy(y[:1]))
    grid, widths = tuple(features[0].shape[2:]), [f.shape[1] for f in features]
    method = f2pad_torch.METHODS[model["method"]](arrays, grid, widths)
    scorer = f2pad_torch.Scorer(
        nets[best], method, model["scale"], model["shift"], model["q50"], model["q995"], size // grid[0], model["map"]
    )
    refiner = f2pad_torch.Refiner(scorer, model["refine"], memory, size, size, threads)
    seeds = [int(s) for s in seeds]

    def check(iterations):
        def call():
            diary = []
            maps, _ = refiner.run(y, seeds, iterations, like_go=True, diary=diary)
            first = [np.array(diary[0][k]) for k in ("data", "penalty", "support", "step")]
            return [maps, *first]

        return Way(call, lambda out: out, note, lambda: refiner.run(y, seeds, iterations)[1] / iterations)

    return {
        "PyTorch": check(iterations),
        "PyTorch, one": check(1),
        "PyTorch, all steps": Way(lambda: refiner.run(y, seeds, iterations), lambda out: [out[0]], note),
    }


# Scoring


def anomalib(arch, state, files, batch, size):
    """Decoding, network, method and map of a list of images, in anomalib's model with the state that ours has."""
    yield "anomalib", lambda: anomalib_way(arch, state, files, batch, size)


def anomalib_way(arch, state, files, batch, size):
    torch, np, _, _ = need("torch", "numpy", "torchvision", "anomalib")
    import logging
    import warnings

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import export
    from anomalib.data.utils import read_image
    from anomalib.models.image.padim.torch_model import PadimModel
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    from torchvision.transforms.v2.functional import normalize, resize

    model, a = fitted(state)
    kind = {"padim": PadimModel, "patchcore": PatchcoreModel}[model["method"]]
    m = kind(backbone=arch, layers=export.LAYERS, pre_trained=False)
    _, whole = export.build(arch)
    lacking = m.feature_extractor.feature_extractor.load_state_dict(whole.state_dict(), strict=False).missing_keys
    if lacking:
        raise ValueError(f"anomalib's backbone has weights that the exported network lacks: {lacking[:3]}")
    if model["method"] == "padim":
        k = len(a["channels"])
        low = np.zeros((len(a["mean"]), k, k), np.float32)
        low[:, *np.tril_indices(k)] = a["factor"]
        m.idx = torch.from_numpy(a["channels"].astype(np.int64))
        m.gaussian.mean = torch.from_numpy(a["mean"].T.copy())
        low = torch.from_numpy(low)
        m.gaussian.inv_covariance = torch.bmm(low.transpose(1, 2), low)
    else:
        m.memory_bank = torch.from_numpy(a["bank"])
    m.eval().requires_grad_(False)
    mean = [-b / s for s, b in zip(model["scale"], model["shift"])]
    std = [1 / s for s in model["scale"]]

    def prepare(path):
        image = read_image(path, as_tensor=True)
        if image.shape[1:] != (size, size):
            image = resize(image, [size, size], antialias=True)
        return normalize(image, mean, std)

    pool = ThreadPoolExecutor(threads)

    def predict(layout):
        def call():
            scores, maps = [], []
            with torch.inference_mode():
                for i in range(0, len(files), batch):
                    x = torch.stack(list(pool.map(prepare, files[i : i + batch]))).to(memory_format=layout)
                    out = m(x)
                    scores.append(out.pred_score.flatten())
                    maps.append(out.anomaly_map)
            return torch.cat(scores), torch.cat(maps)

        return call

    call, note = layouts(torch, predict)
    note = f"its torch model; images decoded in {threads} threads; {note}"
    return Way(call, lambda out: [t.numpy() for t in out], note)


# CFLOW-AD


def flow(layers, options, seed, steps, train, score, state, largest, total):
    """Training steps of flows, and scores of images. train and score are the layers' features, [images,*layer] each; state is a
    folder with each layer's mixes, mean, whiten and parameters as our fit has left them."""
    yield "PyTorch", lambda: flow_ways(layers, options, seed, steps, train, score, state, largest, total)


def flow_ways(layers, options, seed, steps, train, score, state, largest, total):
    torch = need("torch")
    import cflow_torch

    def read(i, name, *shape):
        return torch.from_numpy(load(os.path.join(state, f"{name}{i}.bin"), *shape))

    def made(i):
        d, h, w = layers[i]
        return cflow_torch.Flow(d, h, w, options, read(i, "mixes", -1, d, d), (read(i, "mean", d), read(i, "whiten", d, d)))

    vectors = [cflow_torch.collect(torch.from_numpy(load(f, -1, *l)), {"max_locations": 0}, 0)[0] for f, l in zip(train, layers)]
    chosen = [list(cflow_torch.batches(seed, i, steps, len(x), options["batch"])) for i, (x, _) in enumerate(vectors)]
    prepared = [made(i).prepared(x) for i, (x, _) in enumerate(vectors)]

    def trained(fused):
        took, losses = 0, []
        for i, x in enumerate(prepared):
            f = made(i)
            cflow_torch.like_go(f, seed, i)
            began = time.perf_counter()
            losses.append(cflow_torch.train(f, x, vectors[i][1], options, chosen[i], steps, fused))
            took += time.perf_counter() - began
        return torch.cat(losses), took

    kinds = {"Adam": False, "fused Adam": True}
    took = {name: min(trained(fused)[1] for _ in range(3)) for name, fused in kinds.items()}
    best = min(took, key=took.get)
    note = best + "".join(f" ({name} takes {t / took[best]:.2f} x)" for name, t in took.items() if name != best)
    maps = [torch.from_numpy(load(f, -1, *l)) for f, l in zip(score, layers)]
    flows = [made(i) for i in range(len(layers))]
    for i, f in enumerate(flows):
        f.set(read(i, "parameters", -1))
    cflow_torch.ready(flows)

    def scored(n):
        def call():
            part = [cflow_torch.score(flows, largest, total, f) for f in cflow_torch.parts(maps, n)]
            return torch.cat(part)

        return call

    sizes = {f"{n} at once": scored(n) for n in (1, len(maps[0]))}
    batch, how = fastest(sizes)
    return {
        "PyTorch, training": Way(
            lambda: trained(kinds[best]), lambda out: [out[0].numpy()], note, lambda: trained(kinds[best])[1]
        ),
        "PyTorch, scoring": Way(sizes[batch], lambda out: [out.numpy()], how),
    }


def flow_fit(layers, options, seed, train, test):
    """A whole training on the features of images, and the scores of others."""
    yield "PyTorch", lambda: flow_fit_way(layers, options, seed, train, test)


def flow_fit_way(layers, options, seed, train, test):
    torch, np = need("torch", "numpy")
    import cflow_torch

    train, test = ([torch.from_numpy(load(f, -1, *l)) for f, l in zip(files, layers)] for files in (train, test))
    return Way(lambda: cflow_torch.fit_and_score(train, test, options, seed), lambda out: [out[0].numpy(), np.array([out[1]], np.float32)])


# Conversation

# Each case yields names of ways, or of libraries that several ways need, and what builds them.
CASES = {"network": network, "conv": conv, "knn": knn, "f2pad": f2pad, "anomalib": anomalib, "flow": flow, "flow_fit": flow_fit}


def versions():
    found = {"python": sys.version.split()[0]}
    from importlib import metadata

    for name in ("torch", "torchvision", "efficientnet-lite-pytorch", "onnxruntime", "faiss-cpu", "anomalib", "numpy", "scipy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def export_file(arch, path):
    need(*packages(arch), "onnx", "onnxscript")
    import contextlib

    import export

    with contextlib.redirect_stdout(sys.stderr):
        export.export(arch, path)
    return {}


ways = {}  # of the open case


def answer(q):
    global threads
    do = q["do"]
    if do == "hello":
        threads = q["threads"]
        return {"versions": versions()}
    if do == "export":
        return export_file(q["arch"], q["path"])
    if do == "open":
        ways.clear()
        gc.collect()
        missing = {}
        for name, build in CASES[q["case"]](**q["params"]):
            try:
                made = build()
                ways.update(made if isinstance(made, dict) else {name: made})
            except Missing as e:
                missing[name] = str(e)
        return {"ways": {name: w.note for name, w in ways.items()}, "missing": missing}
    if do == "check":
        np = need("numpy")
        w = ways[q["way"]]
        with open(q["path"], "wb") as f:
            for a in w.outputs(w.call()):
                f.write(np.ascontiguousarray(a, np.float32).tobytes())
        return {}
    if do == "run":
        return {"seconds": ways[q["way"]].seconds()}
    if do == "close":
        ways.clear()
        gc.collect()
        return {}
    raise ValueError(f"unknown question {do!r}")


def main():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    for line in sys.stdin:
        try:
            a = answer(json.loads(line))
        except Missing as e:
            a = {"error": str(e)}
        except Exception as e:
            traceback.print_exc()
            a = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(a), flush=True)


if __name__ == "__main__":
    main()
