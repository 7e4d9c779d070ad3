"""Pages of plain text, drawn."""

import cv2
import numpy as np


def page(*texts, height=240, width=480):
    image = np.full((height, width, 3), 255, np.uint8)
    for row, text in enumerate(texts):
        cv2.putText(image, text, (30, 50 + 55 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2, cv2.LINE_AA)
    return image
