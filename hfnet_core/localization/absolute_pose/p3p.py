"""Poses from three points, for many samples at once.

The distances d of the points from the camera obey three quadrics; ratios of them lie on two conics. A degenerate conic
of their pencil is two lines, and these meet the conics in the up to four solutions (Persson and Nordberg, "Lambda
Twist", ECCV 2018; Ding et al., "Revisiting the P3P Problem", CVPR 2023). The last axis of every array is the sample:
what numpy takes for a few of them goes to the number of operations, not to their size, so these are kept few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array

__all__ = ["SAMPLE", "solve_p3p"]

SAMPLE = 3
_NEWTON = 2  # steps on the cubic's root: its closed form loses half the digits where roots are close
_FLAT = 1e-12  # sine, squared, of the angle at the first point below which three points are on one line
_ONE, _OTHER = np.array([0, 0, 1]), np.array([1, 2, 2])  # pairs of points
_NEXT, _AFTER = np.array([1, 2, 0]), np.array([2, 0, 1])  # axes, for cross products
# Symmetric matrices are kept as their entries 00, 01, 02, 11, 12, 22.
_FULL = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])  # from these to all nine
_MINORS = np.array([[3, 2, 1, 0, 1, 0], [5, 4, 4, 5, 2, 3], [4, 1, 2, 2, 0, 1], [4, 5, 3, 2, 4, 1]])  # of adjugates
_DIAGONAL = np.array([0, 3, 5])
_TRACE = np.array([1.0, 2.0, 2.0, 1.0, 2.0, 1.0])  # of a product of two: the weights of products of entries
_CONICS = np.array(  # entries of both, by a01, a02, a12, a12 c01, a12 c02, a01 c12, a02 c12 (see `_distances`)
    [
        [[0, 0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]],
        [[0, 0, 0, -1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]],
        [[0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, -1, 0, 0]],
        [[-1, 0, 1, 0, 0, 0, 0], [0, -1, 0, 0, 0, 0, 0]],
        [[0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1]],
        [[-1, 0, 0, 0, 0, 0, 0], [0, -1, 1, 0, 0, 0, 0]],
    ],
    float,
).reshape(12, 7)
# of a matrix's nine entries, the row and the column that hold each one
_CROSSING = np.array([[[3 * (e // 3) + i for e in range(9)], [3 * i + e % 3 for e in range(9)]] for i in range(3)])


def solve_p3p(rays: Array, points: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Rotations [3, 3, H] and translations [3, H], camera_from_map, and the sample [H] that each is of.

    rays: [3, 3, B] unit vectors, of each of three points the axes, in the camera's frame; points: [3, 3, B] likewise
    in the map. Samples give none to four poses; those whose points are on one line none.
    """
    # what is divided by zero or rooted below it here belongs to no solution and is left out at the end
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sides = points.take(_OTHER, axis=0) - points.take(_ONE, axis=0)
        cosines = np.add.reduce(rays.take(_ONE, axis=0) * rays.take(_OTHER, axis=0), axis=1)
        distances, found = _distances(cosines, np.add.reduce(sides * sides, axis=1))
        which, sample = found.nonzero()
        chosen = distances.reshape(3, 1, -1).take(which * rays.shape[2] + sample, axis=2)
        seen = rays.take(sample, axis=2) * chosen
        rotations = _rotations(seen[1:] - seen[0], sides[:2].take(sample, axis=2))
        translations = seen[0] - np.add.reduce(rotations * points[0].take(sample, axis=1), axis=1)
    finite = np.isfinite(translations).all(axis=0)
    if finite.all():
        return rotations, translations, sample
    return rotations[:, :, finite], translations[:, finite], sample[finite]


def _distances(cosines: Array, sides: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Distances [3, 4, B] of the three points, and which of the four solutions [4, B] there are.

    cosines, sides: [3, B] between and squared distances of points 0 and 1, 0 and 2, 1 and 2.
    """
    total = np.add.reduce(sides, axis=0)
    terms = np.empty((7, len(total)))
    np.divide(sides, total, out=terms[:3])
    np.multiply(terms[2], cosines[:2], out=terms[3:5])
    np.multiply(terms[:2], cosines[2], out=terms[5:])
    conics = (_CONICS @ terms).reshape(6, 2, -1)
    lines, real = _lines(_degenerate(conics))
    candidates, meets = _intersections(conics[:, 0], lines)
    candidates *= np.sign(np.add.reduce(candidates, axis=0))
    cross = candidates.take(_ONE, axis=0) * candidates.take(_OTHER, axis=0)
    cross *= cosines[:, None]
    scale = np.add.reduce(candidates * candidates, axis=0) - np.add.reduce(cross, axis=0)
    found = (np.minimum.reduce(candidates, axis=0) > 0) & meets & real & (scale > 0)
    candidates *= np.sqrt(0.5 * total / scale)
    return candidates, found


def _degenerate(conics: Array) -> Array:
    """A singular matrix [6, B] of the pencil of two [6, 2, B]."""
    products = _adjugate(conics)[:, :, None] * conics[:, None]
    coefficients = (_TRACE @ products.reshape(6, -1)).reshape(4, -1)
    coefficients[::3] /= 3
    first, second = conics[:, 0], conics[:, 1]
    swap = np.abs(coefficients[0]) > np.abs(coefficients[3])  # of a root and its inverse take the smaller one
    root = _cubic_root(np.where(swap, coefficients, coefficients[::-1]))
    return np.where(swap, second, first) + root * np.where(swap, first, second)


def _cubic_root(coefficients: Array) -> Array:
    """A real root [B] of a x^3 + b x^2 + c x + d, the one farthest from the inflection."""
    b, c, d = coefficients[1:] / coefficients[0]
    shift = b / 3
    p3, q2 = c / 3 - shift * shift, shift * (shift * shift - c / 2) + d / 2
    size = np.abs(q2)
    cubed = p3 * p3 * p3
    discriminant = size * size + cubed
    u = np.cbrt(size + np.sqrt(np.maximum(discriminant, 0.0)))
    turned = np.cos(np.arccos(np.minimum(size / np.sqrt(np.maximum(-cubed, 0.0)), 1.0)) / 3)
    root = np.where(discriminant > 0, u - p3 / u, 2 * np.sqrt(np.maximum(-p3, 0.0)) * turned)
    root = -np.copysign(root, q2) - shift
    for _ in range(_NEWTON):
        raised = root + b
        slope = (root + raised) * root
        value = raised * root + c
        root = root - (value * root + d) / (slope + value)
    return np.asarray(root)


def _lines(conic: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The two lines [3, 2, B] that a degenerate conic [6, B] consists of, and where [B] they are real."""
    each = np.arange(conic.shape[1])
    adjugate = -_adjugate(conic)
    largest = adjugate.take(_DIAGONAL, axis=0).argmax(axis=0)
    columns = adjugate[_FULL.take(largest, axis=1), each]
    square = columns[largest, each]
    x, y, z = columns / np.sqrt(square)  # where they meet
    outer = conic.take(_FULL.ravel(), axis=0)  # of both lines, once the point's cross product is added
    outer[1] -= z
    outer[2] += y
    outer[3] += z
    outer[5] -= x
    outer[6] -= y
    outer[7] += x
    lines = outer[_CROSSING.take(np.abs(outer).argmax(axis=0), axis=2), each]
    return lines, square > 0


def _intersections(conic: Array, lines: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Where two lines [3, 2, B] meet a conic [6, B] without entry 02: points [3, 4, B], and which [4, B] are real."""
    x, y, z = lines
    # two points of each line: (0, z, -y) and (s, xy, xz)
    s, xy, xz = -(y * y + z * z), x * y, x * z
    c00, c01, _, c11, c12, c22 = conic
    by_y, by_z = c11 * z - c12 * y, c12 * z - c22 * y
    c = z * by_y - y * by_z
    b = s * (c01 * z) + xy * by_y + xz * by_z
    a = s * (c00 * s + 2 * c01 * xy) + xy * (c11 * xy + 2 * c12 * xz) + c22 * (xz * xz)
    discriminant = b * b - a * c
    q = -(b + np.copysign(np.sqrt(np.maximum(discriminant, 0.0)), b))
    points = np.empty((3, 2, *x.shape))
    for row, (one, two) in enumerate(((a, q), (q, c))):
        points[0, row] = two * s
        points[1, row] = one * z + two * xy
        points[2, row] = two * xz - one * y
    real = np.empty((2, *x.shape), bool)
    real[:] = discriminant >= 0
    return points.reshape(3, 4, -1), real.reshape(4, -1)


def _adjugate(matrix: Array) -> Array:
    a, b, c, d = (matrix.take(entries, axis=0) for entries in _MINORS)
    return np.asarray(a * b - c * d)


def _rotations(seen: Array, sides: Array) -> Array:
    """[3, 3, H] that turn two sides [2, 3, H] of triangles of the map into those seen."""
    here, there = np.empty((3, 3, seen.shape[2])), np.empty((3, 3, seen.shape[2]))
    here[:2], here[2] = seen, _cross(seen[0], seen[1])
    one, two = sides
    there[2] = _cross(one, two)
    there[0], there[1] = _cross(two, there[2]), _cross(there[2], one)
    area = np.add.reduce(there[2] * there[2], axis=0)
    flat = area <= _FLAT * np.add.reduce(one * one, axis=0) * np.add.reduce(two * two, axis=0)
    there /= np.where(flat, np.nan, area)
    return np.asarray(np.add.reduce(here[:, :, None] * there[:, None], axis=0))


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a.take(_NEXT, 0) * b.take(_AFTER, 0) - a.take(_AFTER, 0) * b.take(_NEXT, 0))
