"""Contact sheets and the pictures in them."""

from pipeline.report.sheets import Picture, Row, Sheet


def test_columns_are_those_of_the_longest_row(jpeg: bytes) -> None:
    picture = Picture(jpeg, 4, 3)
    assert Sheet("a", [Row("found", [picture]), Row("truth", [picture] * 3)]).columns == 3
    assert Sheet("a", []).columns == 0
