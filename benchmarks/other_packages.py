# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Import networks as Ultralytics, torchvision and YOLOX build them, and compare what is decoded.

Each network is built by its own package, with random weights, exported as its users export it,
and imported by ``prune-perception import``. The boxes and scores of one picture as this
package's decoder reads them from the bundle are compared with those that the network's own
package makes of its own network, anchor by anchor: the largest difference of a box's edge in
pixels of the input, and of a score, over the 50 anchors of the highest scores. So are those that
the decoder reads from the file before it is imported: what is more in the bundle is because its
weights are rounded to float16.

A package that is not installed is left out and named. torchvision may be without its compiled
operators, which are not used here.

Limits: the weights are random, so that this says that a network gets in and is read rightly, and
nothing of how well it detects or how far it can be pruned.

    python benchmarks/other_packages.py [--only ssdlite …] [--json FILE]
"""

import argparse
from collections.abc import Callable, Sequence
import contextlib
from dataclasses import dataclass
import importlib
import importlib.metadata
import io
import json
import os
from pathlib import Path
import sys
import tempfile
from typing import Any

import accuracy
import numpy as np
from numpy.typing import NDArray
import onnxruntime
import torch
from torch import nn

from prune_perception.bundle import Card, read_bundle
from prune_perception.cli.main import main as prune_perception
from prune_perception.networks.export import export_plain
from prune_perception.runtime.decoders import decoder_of
from prune_perception.runtime.decoders.anchors import retinanet_sizes, ssd_sizes
from prune_perception.runtime.engines import create_engine, EngineOptions

Array = NDArray[np.float32]
Difference = tuple[float, float]
TOP = 50
LEAST = 1e-6
SEED = 0
SSD_SCALES, SSD_RATIOS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0), [[2, 3]] * 6
SSD300_CELLS = [[38, 38], [19, 19], [10, 10], [5, 5], [3, 3], [1, 1]]
IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# torchvision's FCOS and RetinaNet learn a column 0 that is no class.
WITHOUT_FIRST = ['--decoder-setting', 'column_count=91', '--decoder-setting',
                 f'columns={json.dumps(list(range(1, 91)))}']
SSD_CELLS = [[20, 20], [10, 10], [5, 5], [3, 3], [2, 2], [1, 1]]


@dataclass(frozen=True)
class Made:
    """
    A network in a file, and what its own package makes of a picture.

    :param words: of the verb ``import``.
    :param decode: takes pixels (1, 3, height, width), 0 to 255, RGB, and returns boxes (n, 4)
        x1, y1, x2, y2 in pixels of the input, and scores (n, classes).
    """

    words: Sequence[str]
    decode: Callable[[torch.Tensor], tuple[Array, Array]]


def _spread(module: nn.Module) -> nn.Module:
    """Spread the norms of fresh weights, which leave a network nearly silent."""
    generator = torch.Generator().manual_seed(SEED)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, low, high in ((layer.weight.data, 0.9, 1.3), (layer.bias.data, -.2, .2),
                                      (layer.running_mean, -.1, .1),
                                      (layer.running_var, 0.6, 1.2)):
                assert values is not None
                values.copy_(low + (high - low) * torch.rand(values.shape, generator=generator))
    return module.eval()


def ultralytics_decoded(folder: Path, name: str = 'yolov8n') -> Made:
    """Export with Ultralytics' own exporter; boxes come decoded."""
    with contextlib.redirect_stdout(io.StringIO()):
        own = importlib.import_module('ultralytics').YOLO(f'{name}.yaml')
        _spread(own.model)
        os.chdir(folder)  # where it exports to
        own.export(format='onnx', imgsz=320, simplify=False, device='cpu')
    network = own.model.eval()

    def decode(pixels: torch.Tensor) -> tuple[Array, Array]:
        with torch.no_grad():
            rows = network(pixels / 255)[0][0].numpy().T
        centre, half = rows[:, :2], rows[:, 2:4] / 2
        return np.concatenate([centre - half, centre + half], 1), rows[:, 4:]

    return Made([str(folder / f'{name}.onnx'), '--decoder', 'decoded', '--decoder-setting',
                 'boxes=cxcywh', '--decoder-setting', 'strides=[8,16,32]'], decode)


def ultralytics_heads(folder: Path, name: str = 'yolov8n') -> Made:
    """End the same file before its decoding."""
    made = ultralytics_decoded(folder, name)
    names = [f'/model.22/cv{field}.{level}/cv{field}.{level}.2/Conv_output_0'
             for level in range(3) for field in (2, 3)]
    return Made([made.words[0], '--outputs', ','.join(names), '--decoder', 'yolo_dfl'],
                made.decode)


class Heads(nn.Module):
    """What a detector of torchvision has before anchors and suppression."""

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self.head, self.names = model.backbone, model.head, names

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the heads' outputs."""
        found = self.head(list(self.backbone(x).values()))
        return tuple(found[name] for name in self.names)


def _torchvision(folder: Path, kind: str, names: Sequence[str], side: int, mean: Sequence[float],
                 std: Sequence[float], words: Sequence[str],
                 read: Callable[[Any, list[torch.Tensor], torch.Tensor], tuple[Any, Any]],
                 loud: Callable[[Any], Sequence[nn.Conv2d]] = lambda _: ()) -> Made:
    image_list = importlib.import_module('torchvision.models.detection.image_list')
    model = getattr(importlib.import_module('torchvision.models.detection'), kind)(
        weights=None, weights_backbone=None)
    heads = Heads(_spread(model), names).eval()
    with torch.no_grad():
        # Scores of 1 everywhere, and boxes at the bound of the exponent, would show nothing.
        for layer, output in zip(loud(model), heads(torch.randn(1, 3, side, side)), strict=False):
            layer.weight /= output.std()
    (folder / 'torchvision.onnx').write_bytes(export_plain(heads, (side, side)))
    (folder / 'names.txt').write_text('\n'.join(
        f'class_{number}' for number in range(1, 91)))

    def decode(pixels: torch.Tensor) -> tuple[Array, Array]:
        scale = torch.tensor(std).view(1, 3, 1, 1)
        fed = (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / scale
        with torch.no_grad():
            maps = list(model.backbone(fed).values())
            anchors = model.anchor_generator(image_list.ImageList(fed, [(side, side)]), maps)[0]
            boxes, scores = read(model, list(heads(fed)), anchors)
        return boxes.numpy(), scores.numpy()

    return Made([
        str(folder / 'torchvision.onnx'), '--classes', str(folder / 'names.txt'), '--resize',
        'stretch', '--colour', 'rgb', '--mean', ','.join(map(str, mean)), '--std',
        ','.join(map(str, std)), *words], decode)


def _read_ssd(model: Any, outputs: list[torch.Tensor], anchors: torch.Tensor
              ) -> tuple[Any, Any]:
    return (model.box_coder.decode_single(outputs[0][0], anchors),
            outputs[1][0].softmax(-1)[:, 1:])


def ssdlite(folder: Path) -> Made:
    """Build torchvision's SSDLite with MobileNetV3."""
    sizes = [[[round(side, 4) for side in box] for box in level]
             for level in ssd_sizes(SSD_SCALES, SSD_RATIOS, (320, 320))]
    return _torchvision(
        folder, 'ssdlite320_mobilenet_v3_large',
        ('bbox_regression', 'cls_logits'), 320, (127.5,) * 3, (127.5,) * 3,
        ['--decoder', 'ssd', '--decoder-setting', f'cells={json.dumps(SSD_CELLS)}',
         '--decoder-setting', f'anchors={json.dumps(sizes)}'], _read_ssd)


def fcos(folder: Path) -> Made:
    """Build torchvision's FCOS."""

    def read(model: Any, outputs: list[torch.Tensor], anchors: torch.Tensor) -> tuple[Any, Any]:
        logits, boxes, centerness = (output[0] for output in outputs)
        return (model.box_coder.decode(boxes, anchors),
                torch.sqrt(logits.sigmoid() * centerness.sigmoid())[:, 1:])

    return _torchvision(
        folder, 'fcos_resnet50_fpn',
        ('cls_logits', 'bbox_regression', 'bbox_ctrness'), 256, *IMAGENET,
        ['--decoder', 'fcos', '--decoder-setting', 'offset=0', *WITHOUT_FIRST], read)


def ssd300(folder: Path) -> Made:
    """Build torchvision's SSD with VGG16."""
    sizes = ssd_sizes((0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
                      [[2], [2, 3], [2, 3], [2, 3], [2], [2]], (300, 300))
    return _torchvision(
        folder, 'ssd300_vgg16', ('bbox_regression', 'cls_logits'), 300,
        (122.99925, 116.9991, 103.9992), (1.0,) * 3,
        ['--decoder', 'ssd', '--decoder-setting', f'cells={json.dumps(SSD300_CELLS)}',
         '--decoder-setting', 'strides=[8,16,32,64,100,300]',
         '--decoder-setting', f'anchors={json.dumps(sizes)}'], _read_ssd)


def retinanet(folder: Path) -> Made:
    """Build torchvision's RetinaNet."""
    sizes = retinanet_sizes([[side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))]
                             for side in (32, 64, 128, 256, 512)], (0.5, 1.0, 2.0))

    def read(model: Any, outputs: list[torch.Tensor], anchors: torch.Tensor) -> tuple[Any, Any]:
        return (model.box_coder.decode_single(outputs[0][0], anchors),
                outputs[1][0].sigmoid()[:, 1:])

    return _torchvision(
        folder, 'retinanet_resnet50_fpn', ('bbox_regression', 'cls_logits'), 256, *IMAGENET,
        ['--decoder', 'ssd', '--decoder-setting', 'scores=logits', '--decoder-setting',
         'offset=0', '--decoder-setting', 'variances=[1,1,1,1]', '--decoder-setting',
         'strides=[8,16,32,64,128]', '--decoder-setting', f'anchors={json.dumps(sizes)}',
         *WITHOUT_FIRST], read,
        lambda model: (model.head.regression_head.bbox_reg,
                       model.head.classification_head.cls_logits))


def yolox(folder: Path) -> Made:
    """Build a small YOLOX, its export ending before the decoding as YOLOX's own does."""
    network: Any = importlib.import_module(
        'yolox.config').YoloxConfig.get_named_config('yolox_tiny').get_model()
    _spread(network)
    network.head.decode_in_inference = False
    (folder / 'yolox.onnx').write_bytes(export_plain(network, (320, 320)))

    def decode(pixels: torch.Tensor) -> tuple[Array, Array]:
        network.head.decode_in_inference = True
        with torch.no_grad():
            rows = network(pixels.flip(1))[0].numpy()
        centre, half = rows[:, :2], rows[:, 2:4] / 2
        return (np.concatenate([centre - half, centre + half], 1), rows[:, 4:5] * rows[:, 5:])

    return Made([str(folder / 'yolox.onnx'), '--classes', 'coco', '--resize', 'letterbox',
                 '--placement', 'top_left', '--colour', 'bgr', '--mean', '0', '--std', '1',
                 '--decoder', 'yolox', '--decoder-setting', 'scores=probabilities'], decode)


NETWORKS: dict[str, tuple[str, Callable[[Path], Made]]] = {
    'yolov8n, decoded': ('ultralytics', ultralytics_decoded),
    'yolov8n, heads': ('ultralytics', ultralytics_heads),
    'ssdlite': ('torchvision', ssdlite), 'yolox_tiny': ('pixeltable-yolox', yolox),
    'ssd300': ('torchvision', ssd300), 'fcos': ('torchvision', fcos),
    'retinanet': ('torchvision', retinanet),
    'yolo11n, decoded': ('ultralytics', lambda folder: ultralytics_decoded(folder, 'yolo11n'))}


def compare(bundle_folder: Path, made: Made) -> tuple[Difference, Difference | None]:
    """
    Return the largest differences of an edge in pixels, and of a score.

    :return: of what the bundle computes, and of what the file does, before any weight is
        rounded; None where the bundle ends before the file's outputs.
    """
    bundle = read_bundle(bundle_folder)
    card = bundle.card
    picture = np.random.default_rng(SEED).integers(
        0, 256, (1, card.input.height, card.input.width, 3), np.uint8)
    rgb = torch.from_numpy(picture.transpose(0, 3, 1, 2).astype(np.float32).copy())
    boxes, scores = made.decode(rgb)
    fed = np.ascontiguousarray(
        picture if card.input.colour_order == 'rgb' else picture[..., ::-1])
    engine = create_engine(bundle, EngineOptions(threads=1))
    read = decoder_of(card)
    whole = _outputs_of_file(made.words[0], card, fed)
    return (_difference(read(engine.run(fed), LEAST), boxes, scores),
            None if whole is None else _difference(read(whole, LEAST), boxes, scores))


def _outputs_of_file(path: str, card: Card, image: NDArray[np.uint8]) -> list[Array] | None:
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    names = [output.name for output in card.outputs]
    if not set(names) <= {output.name for output in session.get_outputs()}:
        return None
    mean, std = (np.array(values, np.float32) for values in (card.input.mean, card.input.std))
    pixels = ((image.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
    outputs: list[Array] = session.run(
        names, {session.get_inputs()[0].name: np.ascontiguousarray(pixels)})
    return outputs


def _difference(own: tuple[Array, Array, NDArray[np.int64]], boxes: Array, scores: Array
                ) -> Difference:
    own_boxes, own_scores, own_classes = own
    # Fresh weights make boxes without area, which the decoder leaves out.
    scores = np.where(np.all(boxes[:, 2:] > boxes[:, :2], axis=1, keepdims=True), scores, 0)
    best = np.argsort(-scores.reshape(-1), kind='stable')[:TOP]
    anchors, classes = np.divmod(best, scores.shape[1])
    edges, confidences = [], []
    for anchor, which in zip(anchors, classes, strict=True):
        same = own_classes == which
        far = np.abs(own_boxes[same] - boxes[anchor]).max(1)
        nearest = int(far.argmin())
        edges.append(far[nearest])
        confidences.append(abs(own_scores[same][nearest] - scores[anchor, which]))
    return float(max(edges)), float(max(confidences))


def _run(name: str) -> dict[str, Any]:
    package, make = NETWORKS[name]
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            torch.manual_seed(SEED)
            made = make(folder)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                status = prune_perception(['import', *made.words, '-o', str(folder / 'bundle')])
            if status:
                return {'name': name, 'reason': 'could not be imported'}
            found, whole = compare(folder / 'bundle', made)
        except ImportError as error:
            return {'name': name, 'reason': f'{package} is not installed: {error}'}
        finally:
            os.chdir(here)
    lines = [line for line in printed.getvalue().splitlines() if line[:1].isdigit()]
    return {'name': name, 'package': f'{package} {importlib.metadata.version(package)}',
            'pixels': found[0], 'score': found[1],
            'float32_pixels': whole and whole[0], 'float32_score': whole and whole[1],
            'groups': lines[0] if lines else '',
            'output': printed.getvalue()}


def _figure(value: float | None) -> str:
    return f'{"-":>9}' if value is None else f'{value:9.1e}'


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description='networks as other packages build them')
    parser.add_argument('--only', nargs='+', choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    arguments = parser.parse_args()
    rows = []
    print(f'{"":45} {"bundle":>18}   {"file":>17}')
    print(f'{"network":18} {"package":26} {"pixels":>9} {"score":>9}  {"pixels":>9} '
          f'{"score":>9}  channels')
    for name in arguments.only:
        row = _run(name)
        rows.append(row)
        print(f'{name:18} {row["reason"]}' if 'reason' in row else
              f'{name:18} {row["package"]:26} {row["pixels"]:9.1e} {row["score"]:9.1e}  '
              f'{_figure(row["float32_pixels"])} {_figure(row["float32_score"])}  '
              f'{row["groups"]}', flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {'machine': accuracy.describe_machine(), 'rows': rows}, indent=2) + '\n')
    return 0 if any('package' in row for row in rows) else 1


if __name__ == '__main__':
    sys.exit(main())
