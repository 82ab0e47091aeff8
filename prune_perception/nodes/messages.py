# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Between ROS messages and the value types of the package."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
)

from prune_perception.detections import Detections
from prune_perception.frames.encodings import decode_image, decode_picture, Picture


def image_of(message: Image | CompressedImage, max_pixels: int) -> NDArray[np.uint8]:
    """
    Return the image of a message, (height, width, 3) BGR.

    :raises ImageError: the message does not hold an image that can be read.
    """
    return picture_of(message, max_pixels).image


def picture_of(message: Image | CompressedImage, max_pixels: int,
               least: tuple[int, int] | None = None) -> Picture:
    """
    Return the image of a message, a large JPEG at a part of its size.

    :param least: width and height in pixels that are enough; None wants the whole.
    :raises ImageError: the message does not hold an image that can be read.
    """
    if isinstance(message, CompressedImage):
        return decode_picture(
            format=message.format, data=message.data, max_pixels=max_pixels, least=least)
    return Picture.whole(decode_image(
        encoding=message.encoding, height=message.height, width=message.width,
        step=message.step, is_bigendian=bool(message.is_bigendian), data=message.data,
        max_pixels=max_pixels))


def detections_message(
        detections: Detections, header: Header, class_names: Sequence[str]) -> Detection2DArray:
    """Return detections as a message under the header of the image they were found in."""
    message = Detection2DArray(header=header)
    boxes = detections.boxes.astype(np.float64)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).tolist()
    sizes = (boxes[:, 2:] - boxes[:, :2]).tolist()
    for centre, size, score, index in zip(
            centres, sizes, detections.scores.tolist(), detections.classes.tolist(),
            strict=True):
        detection = Detection2D(header=header)
        detection.bbox.center.position.x, detection.bbox.center.position.y = centre
        detection.bbox.size_x, detection.bbox.size_y = size
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = class_names[index]
        result.hypothesis.score = score
        detection.results.append(result)
        message.detections.append(detection)
    return message


def detections_of(message: Detection2DArray, class_names: Sequence[str]) -> Detections:
    """
    Return the detections of a message; those of classes not in ``class_names`` are left out.

    Of several hypotheses for one object, the first counts.
    """
    index_of = {name: index for index, name in enumerate(class_names)}
    rows = []
    for detection in message.detections:
        hypothesis = detection.results[0].hypothesis if detection.results else None
        if hypothesis is None or hypothesis.class_id not in index_of:
            continue
        centre, box = detection.bbox.center.position, detection.bbox
        rows.append((
            centre.x - box.size_x / 2, centre.y - box.size_y / 2, centre.x + box.size_x / 2,
            centre.y + box.size_y / 2, hypothesis.score, index_of[hypothesis.class_id]))
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32), table[:, 4].astype(np.float32),
        table[:, 5].astype(np.int64))


def label_info_message(
        class_names: Sequence[str], score_threshold: float, header: Header) -> LabelInfo:
    """Return the class names of a bundle as a message."""
    return LabelInfo(
        header=header, threshold=score_threshold,
        class_map=[VisionClass(class_id=index, class_name=name)
                   for index, name in enumerate(class_names)])


def bgr_message(image: NDArray[np.uint8], header: Header) -> Image:
    """Return an image, (height, width, 3) BGR, as a message."""
    height, width = image.shape[:2]
    message = Image(
        header=header, height=height, width=width, encoding='bgr8', step=3 * width)
    # Appended, since the setter of the field would look at each of a million values.
    message.data.frombytes(np.ascontiguousarray(image).data.cast('B'))
    return message
