"""A folder laid out like a checkout of UChi-JCL/Grace, with a codec of ours in it.

It stands in for code and weights that cannot be passed on: the same files, classes and calls, and
inside a block-average codec with one weight. It shows that the wiring works, not how GRACE does.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

INTERFACE = """
import torch
from .grace_model import Model

class GraceBasicCode:
    def __init__(self, code, shapex, shapey, z):
        self.code, self.shapex, self.shapey, self.z = code, shapex, shapey, z

class GraceInterface:
    def __init__(self, config, use_half=True, scale_factor=1):
        self.model = Model(config["path"], config["device"])
        self.use_half, self.scale_factor = use_half, scale_factor

    def encode(self, image, refer_frame):
        motion, residual = self.model.encode(image[None], refer_frame[None])
        code = torch.cat([motion.flatten(), residual.flatten()])
        return GraceBasicCode(code, motion.shape, residual.shape, None)

    def entropy_encode(self, code):
        return int((code.code != 0).sum())

    def decode(self, code, refer_frame):
        border = code.shapex.numel()
        residual = code.code[border:].reshape(code.shapey)
        return self.model.decode(residual, refer_frame[None])[0].clamp(0, 1)
"""
MODEL = """
import torch
from .net import BLOCK

class Model:
    def __init__(self, path, device):
        self.gain = torch.load(path, map_location=device)["gain"]

    def encode(self, image, reference):
        residual = torch.nn.functional.avg_pool2d(image - reference, BLOCK) * self.gain
        motion = torch.zeros(1, 2, *residual.shape[2:])
        return motion, residual.round()

    def decode(self, residual, reference):
        grown = torch.nn.functional.interpolate(residual / self.gain, scale_factor=BLOCK)
        return reference + grown
"""
NET = "BLOCK = 16\n"
#: Intra "coding": the first pixel of every 8x8, behind a magic number.
BPGENC = """
#include <stdlib.h>
#include <string.h>
static unsigned char *buffer; static int length;
void bpg_encode_bytes(unsigned char *rgb, int h, int w) {
    unsigned char *out = buffer = malloc(length = h * w * 3 / 64 + 4);
    memcpy(out, "BPGx", 4); out += 4;
    for (int y = 0; y < h; y += 8) for (int x = 0; x < w; x += 8, out += 3)
        memcpy(out, rgb + 3 * (y * w + x), 3);
}
char *get_buf(void) { return (char *)buffer; }
int get_buf_length(void) { return length; }
void free_memory(void *p) { free(p); }
"""
BPGDEC = """
#include <stdlib.h>
#include <string.h>
char *bpg_decode_bytes(unsigned char *data, int size, int h, int w) {
    if (size != h * w * 3 / 64 + 4 || memcmp(data, "BPGx", 4)) return NULL;
    unsigned char *out = malloc(h * w * 3);
    for (int y = 0; y < h; y++) for (int x = 0; x < w; x++)
        memcpy(out + 3 * (y * w + x), data + 4 + 3 * ((y / 8) * (w / 8) + x / 8), 3);
    return (char *)out;
}
"""


def has_compiler() -> bool:
    return shutil.which("cc") is not None


def make_checkout(folder: Path, *, model: str = "4096", gain: float = 64.0) -> Path:
    """Write the folder and return it."""
    import torch

    for name in ("grace", "libs", "models/grace"):
        (folder / name).mkdir(parents=True)
    (folder / "grace/grace_gpu_interface.py").write_text(INTERFACE)
    (folder / "grace/grace_model.py").write_text(MODEL)
    (folder / "grace/net.py").write_text(NET)
    for name, source in (("bpgenc", BPGENC), ("bpgdec", BPGDEC)):
        (folder / f"{name}.c").write_text(source)
        library = folder / "libs" / f"{name}.so"
        command = ["cc", "-shared", "-fPIC", "-o", str(library), str(folder / f"{name}.c")]
        subprocess.run(command, check=True)
    torch.save({"gain": torch.tensor(gain)}, folder / f"models/grace/{model}_freeze.model")
    return folder
