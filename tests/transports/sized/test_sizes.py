from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import InputError
from testbed.transports.sized.sizes import read_sizes, sha256_of


def written(folder: Path, text: str | bytes) -> str:
    path = folder / "sizes.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_sizes_are_read_in_any_order_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    table = read_sizes(written(tmp_path, "\ufeffbytes, frame\n70,1\n900,0\n\n"))
    assert [table.bytes_of(n, "") for n in (0, 1)] == [900, 70]


def test_units_have_kinds_where_the_codec_has(tmp_path: Path) -> None:
    path = written(tmp_path, "frame,unit,bytes\n0,video,900\n0,text,80\n")
    table = read_sizes(path, kinds=("video", "text"))
    assert table.bytes_of(0, "text") == 80
    with pytest.raises(InputError, match="no row for frame 7 and unit text"):
        table.bytes_of(7, "text")
    plain = read_sizes(written(tmp_path, "frame,bytes\n0,900\n"), kinds=("video", "text"))
    assert plain.bytes_of(0, "video") == 900


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "row 1: no column frame; columns: frame, bytes"),
        ("frame,size\n", "row 1: no column bytes; columns: frame, bytes"),
        ("frame,bytes,quality\n", "row 1: column 'quality' is not known or is there twice"),
        ("frame,bytes,bytes\n", "row 1: column 'bytes' is not known or is there twice"),
        ("frame,bytes\n", "has no rows below its header"),
        ("frame,bytes\n0,70\n1,x\n", "row 3, column bytes: must be a whole number in 1..1048576"),
        ("frame,bytes\n0,0\n", "row 2, column bytes: must be a whole number in 1..1048576"),
        ("frame,bytes\n-1,5\n", "row 2, column frame: must be a whole number in 0..1000000"),
        ("frame,bytes\n0,²\n", "row 2, column bytes: must be"),
        ("frame,bytes\n0\n", "row 2: 1 cells where the header has 2"),
        ("frame,bytes\n0,5\n0,6\n", "row 3, column frame: frame 0 is there twice"),
        (b"\xff\xfe\x00", "is no text in UTF-8"),
        ('frame,bytes\n0,"5\n', "row 2: "),
    ],
)
def test_a_bad_file_is_one_line_with_file_row_and_column(
    tmp_path: Path, text: str | bytes, line: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_sizes(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {line}")
    assert "\n" not in message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^sizes_from: .*none.csv: cannot be read \(No such file"):
        read_sizes(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="cannot be read"):
        sha256_of(str(tmp_path))
