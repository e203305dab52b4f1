"""What a receiver shows of a decoded GoP: pictures of the source size.

The encoder calls the same where it needs to know what the receiver sees (`vgc.enhancement`).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from morphe_core.network import Network
from morphe_core.vgc.geometry import Geometry, Packed
from morphe_core.vgc.pictures import Picture, to_bytes
from morphe_core.vgc.small import DecodedI, DecodedP
from morphe_core.vgc.tokens import GOP_FRAMES


def shown_pictures(
    network: Network, i: DecodedI, p: DecodedP, geometry: Geometry
) -> list[Packed]:  # fmt: skip
    """The nine pictures of a GoP as they are shown, packed yuv420p."""
    pictures = i.picture.joined(p.pictures)
    features = torch.cat([i.features, p.features.expand(GOP_FRAMES - 1, -1, -1, -1)])
    return _enlarged(network, pictures, features, geometry)


def _enlarged(
    network: Network, pictures: Picture, features: Tensor, geometry: Geometry
) -> list[Packed]:
    """Pictures of the source size: interpolation plus what super resolution adds to luma."""
    scale = geometry.scale
    added = network.upscaler(scale)(pictures, features)[:, 0].cpu().numpy()
    luma = to_bytes(pictures.luma)[:, 0].cpu().numpy()
    chroma = to_bytes(pictures.chroma).cpu().numpy()
    width, height = geometry.width, geometry.height
    result = []
    for n in range(len(luma)):
        base = _resized(luma[n], scale)[:height, :width]
        bright = np.clip(base + added[n, :height, :width] + np.float32(0.5), 0, 255)
        planes = [bright.astype(np.uint8).reshape(-1)]
        for plane in chroma[n]:
            large = _resized(plane, scale)[: height // 2, : width // 2]
            planes.append(np.ascontiguousarray(large).reshape(-1))
        result.append(np.concatenate(planes))
    return result


def _resized(plane: Packed, scale: int) -> Packed:
    if scale == 1:
        return plane
    large: Packed = cv2.resize(plane, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return large
