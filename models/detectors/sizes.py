"""Pictures of different sizes in one call."""

from collections.abc import Callable, Sequence

from torch import Tensor

from models.detectors import Detections


def search_by_size(
    pictures: Sequence[Tensor], search: Callable[[list[Tensor]], Sequence[Detections]]
) -> list[Detections]:
    """Search pictures of one size together and others apart: padding to a common size would change what is found."""
    sizes: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(pictures):
        sizes.setdefault(tuple(picture.shape), []).append(number)
    found: dict[int, Detections] = {}
    for numbers in sizes.values():
        found |= zip(numbers, search([pictures[number] for number in numbers]), strict=True)
    return [found[number] for number in range(len(pictures))]
