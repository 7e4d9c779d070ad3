"""Makes the sample documents beside it: `python tests/resources/make_documents.py [FOLDER]`.

Every page is drawn on a `Sheet`, which keeps what was drawn: so the truth of a page is known to the letter. Invariant:
nothing is random but for seeded noise, and nothing comes from elsewhere; the font is the one inside Pillow (Aileron,
CC0), or Helvetica, which every PDF reader brings along.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

A4 = (1240, 1754)  # pixels at 150 dpi
INK, PAPER, RULE = 20, 255, 150
EPOCH = time.gmtime(1_700_000_000)  # a fixed date, so that two runs write the same bytes
PASSWORD = "open sesame"  # of broken/encrypted.pdf

Pages = list[list[str]]


class Sheet:
    """A grey page that is filled from the top downwards. `lines` is what was drawn, in that order."""

    def __init__(self, size: tuple[int, int] = A4, margin: int = 110) -> None:
        self.image = Image.new("L", size, PAPER)
        self.lines: list[str] = []
        self._draw = ImageDraw.Draw(self.image)
        self._margin, self._y = margin, margin

    def text(self, *lines: str, size: int = 26, bold: bool = False) -> Sheet:
        """Draws lines below one another. size: pixels. bold: struck twice, for the font has one weight."""
        for line in lines:
            self.row((line,), (self._margin,), size, bold)
        return self

    def row(self, cells: Sequence[str], columns: Sequence[int], size: int = 24, bold: bool = False) -> Sheet:
        """Draws texts beside one another. columns: x of each one's left side."""
        font = ImageFont.load_default(size)
        for x, cell in zip(columns, cells, strict=True):
            if self._draw.textbbox((x, self._y), cell, font=font)[2] > self.image.width - self._margin // 2:
                raise ValueError(f"{cell!r} runs off the page")
            for shift in (0, 1) if bold else (0,):
                self._draw.text((x + shift, self._y), cell, fill=INK, font=font)
            self.lines.append(cell)
        return self.gap(round(size * 1.6))

    def table(self, columns: Sequence[int], *rows: Sequence[str], size: int = 24) -> Sheet:
        """Draws rows of cells, the first of them as a head with a rule beneath it."""
        self.row(rows[0], columns, size, bold=True).rule()
        for cells in rows[1:]:
            self.row(cells, columns, size)
        return self

    def gap(self, pixels: int = 40) -> Sheet:
        self._y += pixels
        return self

    def rule(self) -> Sheet:
        self._draw.line((self._margin, self._y, self.image.width - self._margin, self._y), fill=RULE, width=2)
        return self.gap(20)


def scanned(image: Image.Image, degrees: float, seed: int) -> Image.Image:
    """What a desk scanner makes of a page: a little turned, soft, on greyish paper, with noise."""
    page = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=PAPER).filter(ImageFilter.GaussianBlur(0.6))
    grey = 18 + np.asarray(page, np.float32) * (226 / 255)
    noise = np.random.default_rng(seed).normal(0, 2.5, grey.shape)
    return Image.fromarray(np.clip(grey + noise, 0, 255).astype(np.uint8))


# --- the documents: each writes its file and returns what its pages say ---------------------------


def invoice(path: Path) -> Pages:
    """A printed invoice with a table, as a grey PNG."""
    columns = (110, 640, 830, 1020)
    sheet = Sheet().text("Northwind Paper Trading Ltd.", size=38, bold=True)
    sheet.text("14 Harbour Street, Bristol BS1 4QA", "Phone 0117 496 0321").gap()
    sheet.text("INVOICE", size=46, bold=True)
    sheet.text("Invoice number: 2024-00817", "Date: 14 March 2024", "Customer: 40213").gap()
    sheet.text("Bill to", bold=True).text("Greenfield Primary School", "7 Mill Lane", "Bath BA2 3DQ").gap()
    sheet.table(
        columns,
        ("Item", "Quantity", "Unit price", "Amount"),
        ("Copier paper A4, 80 g, white", "40", "4.15", "166.00"),
        ("Envelopes C5, box of 500", "6", "18.90", "113.40"),
        ("Ring binder, blue", "25", "2.30", "57.50"),
        ("Whiteboard markers, set of 4", "12", "5.75", "69.00"),
    ).rule()
    sheet.row(("Subtotal", "405.90"), columns[2:]).row(("VAT 20%", "81.18"), columns[2:])
    sheet.row(("Total due", "487.08"), columns[2:], bold=True).gap(60)
    sheet.text("Please pay within 30 days to account 20481576.", "Thank you for your order.")
    sheet.image.save(path, optimize=True)
    return [sheet.lines]


def letter(path: Path) -> Pages:
    """A letter photographed with the camera on its side: the pixels lie, EXIF orientation 6 stands them up."""
    sheet = Sheet().text("Riverside Housing Association", size=34, bold=True)
    sheet.text("Tenant Services, 3 Quay Road, Norwich NR1 1PX", "Our reference: RHA/2291/K", "2 September 2024").gap(60)
    sheet.text("Dear Mrs Abernathy,").gap(20)
    sheet.text(
        "Thank you for your letter of 19 August about the lift in",
        "Block C. We are sorry for the trouble that its repair has",
        "caused you and your neighbours.",
    ).gap(20)
    sheet.text(
        "The new motor arrived on Friday. Our engineers will fit it",
        "between 9 and 13 September, and the lift will be tested on",
        "Monday 16 September. Until then a porter is on duty from",
        "8 am to 6 pm to help with shopping and prams.",
    ).gap(20)
    sheet.text("If you need help at other times, please call 01603 555 148.").gap(40)
    sheet.text("Yours sincerely,").gap(60).text("Daniel Okafor", "Head of Maintenance")
    page = scanned(sheet.image, 0.3, seed=6)
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees clockwise to view
    page.transpose(Image.Transpose.ROTATE_90).save(path, quality=50, exif=exif)
    return [sheet.lines]


def scanned_minutes(path: Path) -> Pages:
    """Three scanned pages: a PDF that holds images only, so that its text can be had by OCR alone."""
    first = Sheet().text("Minutes of the Annual Meeting", size=40, bold=True)
    first.text("Allotment Society of Eastfield", "Held on 11 January 2024 in the Village Hall").gap()
    first.text("Present: 34 members. In the chair: Ruth Calloway.").gap()
    first.text("1. Minutes of the last meeting", size=30, bold=True)
    first.text("The minutes of 12 January 2023 were read and approved.").gap(20)
    first.text("2. Report of the chair", size=30, bold=True)
    first.text(
        "All 62 plots are let and 17 people are waiting for one. The",
        "water pipe along the north fence was renewed in April. Two",
        "plots flooded in October and will be drained this spring.",
    ).gap(20)
    first.text("3. Report of the treasurer", size=30, bold=True)
    first.text(
        "The accounts are shown overleaf. They were audited by", "Mr Pemberton and accepted without a vote against."
    )

    second = Sheet().text("Accounts for the year 2023", size=36, bold=True).gap()
    second.table(
        (110, 640, 900),
        ("Income and expense", "2022", "2023"),
        ("Rents", "3,410.00", "3,596.00"),
        ("Seed orders", "512.40", "488.75"),
        ("Summer fair", "287.15", "341.60"),
        ("Water", "-1,120.33", "-1,204.90"),
        ("New pipe", "0.00", "-860.00"),
        ("Insurance", "-645.00", "-671.50"),
        ("Repairs and tools", "-398.27", "-254.18"),
        ("Surplus", "2,045.95", "1,435.77"),
        size=28,
    )

    third = Sheet().text("4. Elections", size=30, bold=True)
    third.text(
        "Ruth Calloway (chair), Imran Sethi (treasurer) and Joan", "Whitlock (secretary) were elected for two years."
    ).gap(20)
    third.text("5. Any other business", size=30, bold=True)
    third.text(
        "Bonfires are allowed after 1 November only. The hedge will", "be cut on 24 February; volunteers meet at 9.30."
    ).gap(80)
    third.text("Signed: Joan Whitlock, secretary", "Next meeting: 9 January 2025")

    sheets = [first, second, third]
    pages = [
        scanned(sheet.image, turn, seed)
        for seed, (sheet, turn) in enumerate(zip(sheets, (0.5, -0.4, 0.2), strict=True))
    ]
    pages[0].save(
        path, save_all=True, append_images=pages[1:], resolution=150.0, quality=40, creationDate=EPOCH, modDate=EPOCH
    )
    return [sheet.lines for sheet in sheets]


def agreement(path: Path) -> Pages:
    """A born-digital PDF; the second page is stored on its side, with /Rotate 90 to stand it up."""
    pages = [
        [
            "Service Agreement",
            "between Halden Logistics GmbH, Hamburg (the Customer)",
            "and Bluebird Cleaning Services, Lübeck (the Contractor)",
            "1. Scope",
            "The Contractor cleans the offices at Speicherstrasse 12 on every working day",
            "between 18:00 and 22:00, and the windows twice a year.",
            "2. Fees",
            "The Customer pays 1,850.00 euros a month, due on the 5th of the month.",
            "Window cleaning is charged at 0.95 euros per square metre.",
            "3. Term",
            "This agreement begins on 1 July 2024 and runs for 24 months. It is renewed by",
            "12 months unless one side gives notice three months before its end.",
        ],
        [
            "Annex A: rooms",
            "Ground floor: reception, post room, kitchen, 210 square metres",
            "First floor: open office, two meeting rooms, 385 square metres",
            "Second floor: archive, server room (not cleaned), 120 square metres",
            "Signed at Hamburg on 18 June 2024",
        ],
    ]
    path.write_bytes(text_pdf(pages, rotate=(0, 90)))
    return pages


def delivery_notes(path: Path) -> Pages:
    """A fax-like TIFF: three black-and-white pages at 150 dpi in CCITT Group 4."""
    notes = [
        (
            "DN-55012",
            "3 June 2024",
            (("Steel brackets 40 mm", "200"), ("Wood screws 4 x 50", "1500"), ("Hinges, brass", "64")),
        ),
        ("DN-55013", "4 June 2024", (("Plywood 12 mm, 2440 x 1220", "18"), ("Oak veneer, roll", "5"))),
        (
            "DN-55014",
            "6 June 2024",
            (("Varnish, matt, 5 litres", "12"), ("Brushes 50 mm", "30"), ("Sandpaper 120", "400")),
        ),
    ]
    sheets = []
    for number, date, rows in notes:
        sheet = Sheet((1240, 900)).text("Carver & Sons Joinery Supplies", size=34, bold=True)
        sheet.text(f"Delivery note {number}", f"Delivered on {date}").gap()
        sheet.table((110, 760), ("Article", "Pieces"), *rows, size=28).gap()
        sheets.append(sheet.text("Goods received in good order.", "Driver: P. Lindqvist"))
    # A threshold, not dithering: a fax has no greys.
    pages = [sheet.image.point(lambda grey: 255 if grey > 140 else 0).convert("1") for sheet in sheets]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="group4", dpi=(150, 150))
    return [sheet.lines for sheet in sheets]


def price_list(path: Path) -> Pages:
    """A page from a printer's workflow: a JPEG in CMYK, ink on a pale yellow ground."""
    sheet = Sheet((1000, 900), margin=80).text("Garden Centre Price List", size=38, bold=True)
    sheet.text("Valid from 1 April 2024", size=26).gap()
    sheet.table(
        (80, 560, 760),
        ("Plant", "Pot", "Price"),
        ("Lavender Hidcote", "2 litres", "6.50"),
        ("Rosemary", "1 litre", "3.95"),
        ("Climbing rose, red", "5 litres", "17.80"),
        ("Tomato, cherry", "9 cm", "2.20"),
        ("Box hedge", "3 litres", "9.75"),
        size=28,
    ).gap()
    sheet.text("Ask our staff for help with heavy plants.")
    ink = 255 - np.asarray(sheet.image)
    cmyk = np.stack([ink // 2, ink // 2, np.maximum(ink // 2, 30), ink], axis=-1)
    Image.fromarray(cmyk.astype(np.uint8), "CMYK").save(path, quality=60)
    return [sheet.lines]


DOCUMENTS: dict[str, Callable[[Path], Pages]] = {
    "agreement.pdf": agreement,
    "delivery-notes.tiff": delivery_notes,
    "invoice.png": invoice,
    "letter-rotated.jpg": letter,
    "minutes-scanned.pdf": scanned_minutes,
    "price-list-cmyk.jpg": price_list,
}
NOTES = "These pages were made for the tests; this file is no document, as its name says, and the job passes over it.\n"


# --- PDF by hand ----------------------------------------------------------------------------------


def text_pdf(pages: Pages, rotate: Sequence[int] = (), password: str = "") -> bytes:
    """A4 pages of Helvetica, the first line of each larger. rotate: /Rotate of each page, 0 or 90.

    password: encrypts by the standard handler, revision 2 (RC4, 40 bits; ISO 32000-1, 7.6.3): old, but short to write.
    """
    handler = _Rc4Handler(password) if password else None
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (len(pages), b" ".join(b"%d 0 R" % (4 + 2 * i) for i in range(len(pages)))),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, lines in enumerate(pages):
        turn = rotate[index] if rotate else 0
        content = _content(lines, turn)
        if handler:
            content = handler.encrypt(content, number=5 + 2 * index)
        width, height = (842, 595) if turn == 90 else (595, 842)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Rotate %d /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (width, height, turn, 5 + 2 * index)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    trailer = b"/Root 1 0 R"
    if handler:
        objects.append(handler.dictionary())
        trailer += b" /Encrypt %d 0 R /ID [<%s> <%s>]" % (
            len(objects),
            handler.ID.hex().encode(),
            handler.ID.hex().encode(),
        )
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(
        b"%010d 00000 n \n" % o for o in offsets
    )
    return bytes(out) + b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start)


def _content(lines: list[str], turn: int) -> bytes:
    # With /Rotate 90 the page is stored 842 wide and 595 high: upright text on the turned page runs upwards in it.
    parts = [b"BT"]
    y = 770
    for index, line in enumerate(lines):
        size = 20 if index == 0 else 12
        escaped = line.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
        matrix = b"0 1 -1 0 %d 60" % (842 - y) if turn == 90 else b"1 0 0 1 60 %d" % y
        parts.append(b"/F1 %d Tf %s Tm (%s) Tj" % (size, matrix, escaped))
        y -= round(size * 2)
    return b"\n".join([*parts, b"ET"])


class _Rc4Handler:
    ID = b"ocrbatch-samples"
    PERMISSIONS = -4 & 0xFFFFFFFF
    PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")

    def __init__(self, password: str) -> None:
        padded = (password.encode("latin-1") + self.PADDING)[:32]
        self._owner = rc4(hashlib.md5(padded).digest()[:5], padded)
        seed = padded + self._owner + self.PERMISSIONS.to_bytes(4, "little") + self.ID
        self._key = hashlib.md5(seed).digest()[:5]

    def encrypt(self, content: bytes, number: int) -> bytes:
        """The stream of object `number`, generation 0."""
        return rc4(hashlib.md5(self._key + number.to_bytes(3, "little") + b"\0\0").digest()[:10], content)

    def dictionary(self) -> bytes:
        entries = (self._owner.hex(), rc4(self._key, self.PADDING).hex(), self.PERMISSIONS - (1 << 32))
        return b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P %d >>" % (
            entries[0].encode(),
            entries[1].encode(),
            entries[2],
        )


def rc4(key: bytes, text: bytes) -> bytes:
    """RC4, as old PDFs are encrypted."""
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in text:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


# --- broken files ---------------------------------------------------------------------------------


def make_broken(folder: Path, documents: Path) -> None:
    """Writes files that can't be read, each for a reason of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = (documents / "price-list-cmyk.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "empty.png").write_bytes(b"")
    (folder / "encrypted.pdf").write_bytes(text_pdf([["Salaries 2024", "For the board only."]], password=PASSWORD))
    (folder / "unknown.bin").write_bytes(np.random.default_rng(7).integers(128, 256, 4096, np.uint8).tobytes())


def make(folder: Path) -> dict[str, Pages]:
    """Writes documents/, broken/ and documents-truth.json into `folder`; returns the truth: file -> pages -> lines."""
    documents = folder / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    truth = {name: draw(documents / name) for name, draw in DOCUMENTS.items()}
    (documents / "notes.txt").write_text(NOTES, encoding="utf8")
    make_broken(folder / "broken", documents)
    text = json.dumps(truth, indent=1, ensure_ascii=False) + "\n"
    (folder / "documents-truth.json").write_text(text, encoding="utf8")
    return truth


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
