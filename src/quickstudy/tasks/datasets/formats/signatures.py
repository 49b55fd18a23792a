"""What a file is, by its first bytes."""

import io
import re
import zipfile
from pathlib import Path
from typing import Literal

Format = Literal["text", "excel", "parquet"]
_BINARY = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls); save it as .xlsx, or the sheet as CSV",
    b"%PDF": "a PDF; save the table as CSV",
    b"BZh91AY&SY": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\x89HDF": "an HDF5 file; save the table as CSV",
    b"CDF\x01": "a netCDF file; read it with xarray, and use Table.from_pandas, or save the table as CSV",
    b"ARROW1\x00": "a Feather or Arrow file; save it as Parquet or CSV",
    b"Obj\x01": "an Avro file; save it as Parquet or CSV",
    b"SQLite format": "an SQLite database; export the table as CSV",
    b"RDX3\n": "a file of R; write it with write.csv(..., row.names = FALSE)",
    b"X\n\x00": "a file of R; write it with write.csv(..., row.names = FALSE)",
    b"<stata_dta>": "a file of Stata; save it as CSV",
    b"$FL2": "a file of SPSS; save it as CSV",
    b"MATLAB 5.0 MAT-file": "a file of MATLAB; write it with writetable",
    b"\x93NUMPY": "a NumPy array; give its columns to Table.from_columns, or save it as CSV",
    b"\x80\x04": "a pickle, or another binary file; save the table as CSV or Parquet",
    b"\x89PNG": "a picture; save the table as CSV",
    b"\xff\xd8\xff": "a picture; save the table as CSV",
}
_TEXT = {
    r"version https://git-lfs": "a pointer of Git LFS, and not the file; run git lfs pull",
    r"<[!?a-zA-Z]": "a web page or XML, and not CSV (a log-in page, perhaps?); save the table as CSV",
    r"[\[{]\s*([\[{\"]|\}?\s*$)": "JSON, and not CSV; save the table as CSV",
    r"\{\\rtf": "a text document; save the table as CSV",
}


def format_of(path: Path, content: bytes) -> Format:
    """How to read the unpacked content of the file at `path`.

    Raises:
        ValueError: for a format that cannot be read; the message says what to do.
    """
    if content.startswith(b"PAR1") and b"\x00" in content:  # a gene has this name, too
        return "parquet"
    if content.startswith(b"PK\x03\x04"):
        return _of_archive(path, content)
    for start, what in _BINARY.items():
        if content.startswith(start):
            raise ValueError(f"{path} is {what}")
    return "text"


def check_text(path: Path, text: str) -> None:
    """Raise ValueError for text that is no table."""
    if "\x00" in text:
        raise ValueError(f"{path} cannot be read as CSV text (it holds zero bytes); save it as CSV in UTF-8")
    odd = re.search(r"[\x01-\x08\x0e-\x1a\x1c-\x1f]", text[:100_000])
    if odd is not None:
        raise ValueError(f"{path} is a binary file (it holds the byte {ord(odd[0])}); save the table as CSV in UTF-8")
    head = text[:1000].lstrip()
    for pattern, what in _TEXT.items():
        if re.match(pattern, head):
            raise ValueError(f"{path} looks like {what}")


def _of_archive(path: Path, content: bytes) -> Format:
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except zipfile.BadZipFile:
        raise ValueError(f"{path} is a damaged Excel workbook or zip archive; copy it again") from None
    if "xl/workbook.xml" in names:
        return "excel"
    if "xl/workbook.bin" in names:
        raise ValueError(f"{path} is a binary Excel workbook (.xlsb); save it as .xlsx, or the sheet as CSV")
    if "content.xml" in names:
        raise ValueError(f"{path} is an OpenDocument file; save it as .xlsx, or the sheet as CSV")
    raise ValueError(f"{path} is a zip archive; unpack it first")
