"""Things people put on walls: posters, signs, windows, doors, shelves and paint. RGB uint8, from a generator alone."""

from __future__ import annotations

import cv2
import numpy as np

from hfnet_core.synthetic.textures import Color, Image, fractal, planks, to_image

__all__ = ["door", "market_goods", "mural", "paste", "poster", "shop_front", "sign", "window", "write"]

_WORDS = (
    "HARBOUR",
    "ROBOT",
    "MARKET",
    "THEATRE",
    "CONCERT",
    "SUNDAY",
    "LIBRARY",
    "GARDEN",
    "PLANET",
    "COFFEE",
    "BICYCLE",
    "SUMMER",
    "VOYAGE",
    "ORCHARD",
    "LANTERN",
    "MUSEUM",
    "CINEMA",
    "RIVER",
    "MOUNTAIN",
    "FESTIVAL",
    "JAZZ",
    "CIRCUS",
    "ATLAS",
    "COMET",
    "ISLAND",
    "WINTER",
    "TEMPO",
    "CERAMICS",
    "CHESS",
    "LIGHTHOUSE",
)
_FONTS = (
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)
_PALETTES = (
    ((244, 234, 210), (196, 52, 40), (30, 60, 90), (232, 170, 60)),
    ((26, 42, 64), (240, 196, 80), (226, 88, 60), (236, 236, 224)),
    ((226, 92, 62), (250, 236, 200), (40, 34, 40), (250, 190, 90)),
    ((56, 116, 104), (242, 226, 180), (226, 112, 70), (24, 40, 40)),
    ((238, 238, 232), (24, 24, 28), (220, 40, 60), (110, 120, 128)),
    ((246, 206, 92), (36, 52, 92), (204, 60, 76), (252, 246, 228)),
)


def _rgb(color: Color, shade: float = 1.0) -> tuple[float, float, float]:
    red, green, blue = (min(float(value) * shade, 255.0) for value in color)
    return red, green, blue


def paste(wall: Image, patch: Image, x: int, y: int) -> None:
    """Put `patch` on `wall` with its top-left corner at pixel (x, y), cut at the wall's borders, with a thin shadow."""
    height, width = wall.shape[:2]
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + patch.shape[0], height), min(x + patch.shape[1], width)
    if bottom <= top or right <= left:
        return
    shadow = wall[top : min(bottom + 4, height), left : min(right + 4, width)]
    shadow[...] = (shadow * 0.6).astype(np.uint8)
    wall[top:bottom, left:right] = patch[top - y : bottom - y, left - x : right - x]


def write(image: Image, text: str, box: tuple[int, int, int, int], color: Color, rng: np.random.Generator) -> None:
    """Fit one line of text into a box (x, y, width, height)."""
    x, y, width, height = box
    font = int(rng.choice(_FONTS))
    (text_w, text_h), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = min(width / max(text_w, 1), 0.8 * height / max(text_h, 1))
    thickness = max(round(scale * 2.2), 1)
    origin = (int(x + (width - text_w * scale) / 2), int(y + (height + text_h * scale) / 2))
    cv2.putText(image, text, origin, font, scale, _rgb(color), thickness, cv2.LINE_AA)


def _shapes(image: Image, rng: np.random.Generator, colors: list[Color]) -> None:
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(3, 8))):
        color = _rgb(colors[int(rng.integers(len(colors)))], float(rng.uniform(0.85, 1.1)))
        centre = (int(rng.integers(0, width)), int(rng.integers(int(0.1 * height), int(0.75 * height))))
        size = int(rng.uniform(0.1, 0.36) * width)
        kind = int(rng.integers(4))
        if kind == 0:
            cv2.circle(image, centre, size, color, -1 if rng.random() < 0.6 else max(size // 6, 2), cv2.LINE_AA)
        elif kind == 1:
            corners = np.asarray(centre) + rng.uniform(-1.3, 1.3, (3, 2)) * size
            cv2.fillConvexPoly(image, corners.astype(np.int32), color, cv2.LINE_AA)
        elif kind == 2:
            angle = float(rng.uniform(0, 180))
            points = cv2.boxPoints((centre, (2.2 * size, 0.5 * size), angle)).astype(np.int32)
            cv2.fillConvexPoly(image, points, color, cv2.LINE_AA)
        else:
            for step in range(5):
                radius = size * (5 - step) // 5
                band = color if step % 2 else _rgb(colors[0])
                cv2.ellipse(image, centre, (radius, radius), 0, 180, 360, band, -1, cv2.LINE_AA)


def poster(height: int, width: int, rng: np.random.Generator) -> Image:
    """A printed poster: shapes, a headline, a date, small print, creases and a worn margin."""
    palette = _PALETTES[int(rng.integers(len(_PALETTES)))]
    image = np.empty((height, width, 3), np.uint8)
    image[...] = palette[0]
    _shapes(image, rng, list(palette[1:]))
    cv2.rectangle(image, (0, int(0.76 * height)), (width, height), _rgb(palette[0], 0.95), -1)
    word = str(rng.choice(_WORDS))
    ink: Color = palette[2] if sum(palette[0]) > 380 else palette[3]
    write(image, word, (int(0.06 * width), int(0.03 * height), int(0.88 * width), int(0.13 * height)), ink, rng)
    date = f"{rng.integers(1, 31)}.{rng.integers(1, 13)} {rng.integers(10, 23)}:{rng.integers(0, 6)}0"
    write(image, date, (int(0.1 * width), int(0.77 * height), int(0.8 * width), int(0.1 * height)), palette[1], rng)
    for line in range(4):
        y, end = int((0.885 + 0.027 * line) * height), rng.uniform(0.5, 0.92)
        for x in np.arange(0.08, end, 0.035):
            if rng.random() < 0.85:
                span = (int(x * width), int((x + rng.uniform(0.012, 0.03)) * width))
                cv2.line(image, (span[0], y), (span[1], y), _rgb(ink), max(height // 180, 1))
    worn = 0.84 + 0.24 * fractal(height, width, rng, width / 2.0, 6)
    crease = 1.0 - 0.12 * np.exp(-(((np.arange(height) - height / 2) / 1.5) ** 2))[:, None]
    return to_image(image * (worn * crease)[..., None])


def sign(height: int, width: int, rng: np.random.Generator, text: str, board: Color, ink: Color) -> Image:
    """A painted board with a border and a word."""
    image = np.empty((height, width, 3), np.uint8)
    image[...] = np.asarray(board, np.uint8)
    border = max(height // 14, 2)
    inner = (width - border, height - border)
    cv2.rectangle(image, (border, border), inner, _rgb(ink), max(border // 2, 1), cv2.LINE_AA)
    write(image, text, (int(0.08 * width), int(0.14 * height), int(0.84 * width), int(0.72 * height)), ink, rng)
    worn = 0.78 + 0.34 * fractal(height, width, rng, height / 1.5, 5)
    return to_image(image * worn[..., None])


def window(height: int, width: int, rng: np.random.Generator, frame: Color) -> Image:
    """A window with panes that mirror sky and roofs, curtains and sometimes shutters or flowers."""
    sky = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    glass = (70 + 70 * (1.0 - sky) + 60 * (fractal(height, width, rng, width / 2.0, 5) - 0.5))[..., None]
    image = to_image(glass * np.asarray((0.85, 0.98, 1.12), np.float32))
    if rng.random() < 0.7:
        for side in (0, 1):
            reach = int(rng.uniform(0.18, 0.36) * width)
            folds = 0.75 + 0.25 * np.sin(np.linspace(0.0, rng.uniform(12, 22), reach))[None, :, None]
            tone = np.asarray(_PALETTES[int(rng.integers(len(_PALETTES)))][0], np.float32) * 0.8
            rows = slice(0, height)
            columns = slice(0, reach) if side == 0 else slice(width - reach, width)
            image[rows, columns] = to_image(tone * folds)
    bar = max(width // 16, 3)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), _rgb(frame), 2 * bar, cv2.LINE_AA)
    for x in np.linspace(0, width, int(rng.integers(3, 5)))[1:-1]:
        cv2.line(image, (int(x), 0), (int(x), height), _rgb(frame, 0.92), bar)
    for y in np.linspace(0, height, int(rng.integers(3, 6)))[1:-1]:
        cv2.line(image, (0, int(y)), (width, int(y)), _rgb(frame, 0.85), bar)
    if rng.random() < 0.65:
        _flowers(image, rng)
    return image


def _flowers(image: Image, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    box = int(0.86 * height)
    for _ in range(90):
        at = (int(rng.integers(0, width)), int(rng.normal(box - 0.02 * height, 0.035 * height)))
        green = (float(rng.uniform(30, 70)), float(rng.uniform(80, 140)), 40.0)
        cv2.circle(image, at, int(rng.integers(2, max(width // 22, 4))), green, -1, cv2.LINE_AA)
    blossom = _rgb(((222, 60, 80), (240, 200, 70), (230, 120, 190), (245, 245, 240))[int(rng.integers(4))])
    for _ in range(36):
        at = (int(rng.integers(0, width)), int(rng.normal(box - 0.04 * height, 0.03 * height)))
        cv2.circle(image, at, int(rng.integers(2, max(width // 30, 4))), blossom, -1, cv2.LINE_AA)
    cv2.rectangle(image, (0, box), (width, height), (112, 62, 40), -1)
    cv2.line(image, (0, box), (width, box), (70, 38, 26), max(height // 90, 1))


def door(height: int, width: int, rng: np.random.Generator, pixels_per_m: float, color: Color, number: str) -> Image:
    """A panelled wooden door with hinges, a handle and a number plate."""
    image = planks(height, width, rng, pixels_per_m, color, 0.18, upright=True)
    for row in range(3):
        for column in range(2):
            x0, y0 = int((0.1 + 0.43 * column) * width), int((0.08 + 0.3 * row) * height)
            x1, y1 = x0 + int(0.36 * width), y0 + int(0.24 * height)
            cv2.rectangle(image, (x0, y0), (x1, y1), _rgb(color, 0.45), 3, cv2.LINE_AA)
            cv2.rectangle(image, (x0 + 5, y0 + 5), (x1 - 5, y1 - 5), _rgb(color, 1.35), 1, cv2.LINE_AA)
    for y in (0.12, 0.82):
        cv2.rectangle(image, (0, int(y * height)), (int(0.3 * width), int(y * height) + 7), (44, 42, 44), -1)
    cv2.circle(image, (int(0.9 * width), int(0.55 * height)), max(width // 24, 3), (206, 176, 90), -1, cv2.LINE_AA)
    plate = np.full((int(0.09 * height), int(0.3 * width), 3), (28, 62, 120), np.uint8)
    write(plate, number, (3, 2, plate.shape[1] - 6, plate.shape[0] - 4), (240, 240, 240), rng)
    paste(image, plate, int(0.35 * width), int(0.015 * height))
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), _rgb(color, 0.5), max(width // 18, 3))
    return image


def mural(height: int, width: int, rng: np.random.Generator) -> Image:
    """A painted wall: hills in layers under a sun, with birds and houses."""
    palette = _PALETTES[int(rng.integers(len(_PALETTES)))]
    top, low = np.asarray(palette[0], np.float32), np.asarray(palette[3], np.float32)
    blend = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    image = np.ascontiguousarray(np.broadcast_to(top * (1 - blend) + low * blend, (height, width, 3)).astype(np.uint8))
    sun = (int(rng.uniform(0.2, 0.8) * width), int(0.3 * height))
    for ring in range(6, 0, -1):
        color = _rgb(palette[1] if ring % 2 else palette[3])
        cv2.circle(image, sun, int(0.035 * ring * height), color, -1, cv2.LINE_AA)
    for layer in range(4):
        ridge = (0.42 + 0.14 * layer - 0.25 * (fractal(1, width, rng, width / (2.5 + layer), 5)[0] - 0.3)) * height
        outline = np.concatenate([np.stack([np.arange(width), ridge], axis=1), [[width, height], [0, height]]])
        cv2.fillPoly(image, [outline.astype(np.int32)], _rgb(palette[1 + layer % 3], 1.0 - 0.15 * layer), cv2.LINE_AA)
        for _ in range(5):
            x = int(rng.integers(0, width - 1))
            _house(image, rng, (x, int(ridge[x])), int(rng.uniform(0.04, 0.09) * height))
    for _ in range(14):
        x, y, size = int(rng.integers(0, width)), rng.uniform(0.05, 0.4) * height, rng.uniform(0.01, 0.025) * height
        bird = np.asarray([(x - 2 * size, y - size), (x, y), (x + 2 * size, y - size)]).astype(np.int32)
        cv2.polylines(image, [bird.reshape(-1, 1, 2)], False, (30, 30, 36), 2, cv2.LINE_AA)
    worn = 0.8 + 0.3 * fractal(height, width, rng, height / 2.0, 6)
    return to_image(image * worn[..., None])


def _house(image: Image, rng: np.random.Generator, foot: tuple[int, int], size: int) -> None:
    x, y = foot
    wall = _rgb(_PALETTES[int(rng.integers(len(_PALETTES)))][0])
    cv2.rectangle(image, (x, y - size), (x + size, y + size // 3), wall, -1)
    gable = np.asarray([(x - size // 5, y - size), (x + size // 2, y - 2 * size), (x + size + size // 5, y - size)])
    cv2.fillConvexPoly(image, gable.astype(np.int32), (140, 60, 44), cv2.LINE_AA)
    cv2.rectangle(image, (x + size // 3, y - size // 2), (x + 2 * size // 3, y + size // 3), (50, 40, 40), -1)


def market_goods(height: int, width: int, rng: np.random.Generator) -> Image:
    """Fruit in trays, seen from above or from the front."""
    image = np.full((height, width, 3), (92, 66, 44), np.uint8)
    columns = max(round(3 * width / max(height, 1)), 2)
    fruits = ((214, 52, 44), (244, 166, 38), (120, 170, 60), (250, 216, 80), (110, 52, 96), (226, 120, 60))
    for column in range(columns):
        for row in range(2):
            x0, y0 = column * width // columns + 4, row * height // 2 + 4
            x1, y1 = (column + 1) * width // columns - 4, (row + 1) * height // 2 - 4
            fruit = fruits[int(rng.integers(len(fruits)))]
            radius = max(int(rng.uniform(0.09, 0.16) * (y1 - y0)), 3)
            for _ in range(70):
                at = (
                    int(rng.integers(x0 + radius, max(x1 - radius, x0 + radius + 1))),
                    int(rng.integers(y0 + radius, max(y1 - radius, y0 + radius + 1))),
                )
                cv2.circle(image, at, radius, _rgb(fruit, float(rng.uniform(0.6, 1.1))), -1, cv2.LINE_AA)
                glint = (at[0] - radius // 3, at[1] - radius // 3)
                cv2.circle(image, glint, max(radius // 4, 1), (250, 245, 235), -1, cv2.LINE_AA)
            cv2.rectangle(image, (x0, y0), (x1, y1), (150, 112, 70), 4, cv2.LINE_AA)
    return image


def shop_front(
    height: int, width: int, rng: np.random.Generator, pixels_per_m: float, name: str, color: Color
) -> Image:
    """A wooden shop front: name board, display with shelves full of things, and a low panel."""
    image = planks(height, width, rng, pixels_per_m, color, 0.2)
    board = sign(int(0.17 * height), int(0.92 * width), rng, name, _rgb(color, 0.45), (240, 214, 130))
    paste(image, board, int(0.04 * width), int(0.03 * height))
    x0, y0, x1, y1 = int(0.06 * width), int(0.24 * height), int(0.94 * width), int(0.8 * height)
    cv2.rectangle(image, (x0, y0), (x1, y1), (46, 40, 40), -1)
    for shelf in range(3):
        base = y0 + (shelf + 1) * (y1 - y0) // 3
        x = x0 + 6
        while x < x1 - 10:
            item_w, item_h = int(rng.uniform(0.02, 0.07) * width) + 4, int(rng.uniform(0.07, 0.16) * height)
            colors = _PALETTES[int(rng.integers(len(_PALETTES)))]
            top = (x, max(base - item_h, y0 + 3))
            front = _rgb(colors[int(rng.integers(4))], 0.9)
            cv2.rectangle(image, top, (min(x + item_w, x1 - 4), base - 4), front, -1)
            cv2.line(
                image,
                (x + 2, base - item_h // 2),
                (min(x + item_w, x1) - 2, base - item_h // 2),
                _rgb(colors[int(rng.integers(4))]),
                max(item_h // 8, 1),
            )
            x += item_w + int(rng.integers(2, 12))
        cv2.line(image, (x0, base), (x1, base), (128, 96, 62), 5)
    for x in np.linspace(x0, x1, 4):
        cv2.line(image, (int(x), y0), (int(x), y1), _rgb(color, 0.8), 9)
    cv2.rectangle(image, (x0, y0), (x1, y1), _rgb(color, 0.8), 9)
    return image
