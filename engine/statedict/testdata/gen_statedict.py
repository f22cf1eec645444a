"""Records the files *.pth that the tests of package statedict read; run it in this folder.

torch 2.15.0, numpy 2.4.6
"""

import collections
import json

import torch


def save(name, object):
    torch.save(object, name + ".pth", _use_new_zipfile_serialization=False)


torch.manual_seed(0)

# What a network's state dict has: convolutions, batch normalisations with their counters, the modules' versions.
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
state = net.state_dict()
# As converters from other frameworks leave it: the axes in another order.
state["turned"] = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1)
# Two tensors in one storage, a number, an empty tensor, and types that are not read.
both = torch.arange(10, dtype=torch.float32)
state["part"], state["other part"] = both[2:5], both[4:10:2]
state["number"] = torch.tensor(0.5)
state["empty"] = torch.zeros(0, 3)
state["half"] = torch.zeros(2, dtype=torch.float16)
state["flags"] = torch.tensor([True, False])
save("state", state)
with open("state.json", "w") as f:
    json.dump([{"name": n, "shape": list(t.shape), "type": str(t.dtype), "values": t.double().flatten().tolist()}
               for n, t in state.items()], f)
    f.write("\n")

# More entries than the writer flushes at once, and than one byte counts.
numbers = torch.arange(1100, dtype=torch.float32)
save("many", collections.OrderedDict((f"{i}", numbers[i]) for i in range(1100)))

# What is no state dict.
save("checkpoint", {"epoch": 3, "state_dict": net.state_dict()})
save("list", [torch.zeros(2)])
torch.save(net.state_dict(), "zip.pth")
