"""PDFs as renderers meet them: whole, damaged, locked, hostile."""

import os
import shutil
import signal
import subprocess
import sys
import zlib

import numpy as np
import psutil
import pymupdf
import pytest
from PIL import Image

from manifests.pages import PageSpan
from results.rows import Status
from tests.actors.render_samples import (
    call,
    encoded,
    grouping_pdf,
    image_pdf,
    item,
    laughing_pdf,
    only_page,
    raw_pdf,
    render,
    renderer,
    stream,
    text_pdf,
)


def test_pixels_equal_those_of_a_bare_get_pixmap_and_outlive_the_document(tmp_path):
    path = text_pdf(tmp_path / "a.pdf")
    working = renderer(tmp_path)
    report, chunk = working.render(call(item(path)))
    working.close()
    bare = pymupdf.open(path)[1].get_pixmap(dpi=150, alpha=False)
    expected = np.frombuffer(bare.samples, np.uint8).reshape(bare.h, bare.w, 3)
    assert np.array_equal(chunk.pages[1].image, expected)
    assert report.covered == ((0, PageSpan(1, 3)),)
    assert (report.to_read, report.image_bytes) == (3, 3 * expected.nbytes)
    assert (chunk.pages[1].width, chunk.pages[1].height) == (bare.w, bare.h)
    assert chunk.opened[0].page_count == 3


def test_pixels_are_not_copied_out_of_mupdf(tmp_path):
    page = render(tmp_path, text_pdf(tmp_path / "a.pdf"))[1].pages[0]
    assert type(page.image) is np.ndarray and not page.image.flags.owndata
    assert type(page.image.base).__name__ == "_Pixels"


@pytest.mark.parametrize("longest_side", [64, 333, 1288])
def test_the_longest_side_is_exact(tmp_path, longest_side):
    pages = render(tmp_path, text_pdf(tmp_path / "a.pdf"), longest_side=longest_side)[1].pages
    assert {max(page.width, page.height) for page in pages} == {longest_side}


def test_rotate_is_honoured(tmp_path):
    document = pymupdf.open()
    document.new_page(width=300, height=400).insert_text((40, 60), "turned")
    document[0].set_rotation(90)
    document.save(tmp_path / "a.pdf")
    page = only_page(tmp_path, tmp_path / "a.pdf", dpi=72)
    assert (page.width, page.height, page.rotation) == (400, 300, 0)


@pytest.mark.parametrize("box", ["0 0 14400 14400", "0 0 20000 1", "0 0 100000 100000"])
def test_a_page_of_huge_dimensions_is_shrunk_to_max_pixels(tmp_path, box):
    content = stream("", b"0 0 3000 3000 re f")
    page = only_page(tmp_path, raw_pdf([content], box), max_pixels=1_000_000)
    assert page.status is None or page.status is Status.BLANK
    assert 0 < page.width * page.height <= 1_000_000


def test_a_truncated_file_is_repaired_and_flagged(tmp_path):
    data = text_pdf(tmp_path / "a.pdf").read_bytes()
    pages = render(tmp_path, data[:-400])[1].pages
    assert pages and all("repaired" in page.flags for page in pages)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.4\nnothing else", "damaged PDF"),
        (b"<!DOCTYPE html><html>no", "it is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\0" * 5000, "only zero bytes"),
        (b"random words", "starts with b'random words'"),
        (b"PK\x03\x04whatever", "ZIP archive"),
        (b"", "the file is empty"),
        (b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj"
         b"\ntrailer<</Root 1 0 R>>", "no pages"),
    ],
)  # fmt: skip
def test_what_is_no_pdf_fails_with_what_it_is(tmp_path, data, reason):
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    report, chunk = render(tmp_path, path)
    assert reason in report.opened[0].error
    assert report.covered == ((0, PageSpan(0, 0)),)
    (page,) = chunk.pages
    assert (page.page, page.status, page.reason, page.image) == (
        0,
        Status.FAILED,
        report.opened[0].error,
        None,
    )
    assert report.to_read == 0


def test_an_encrypted_pdf_opens_with_the_empty_or_the_given_password(tmp_path):
    locked = text_pdf(
        tmp_path / "a.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="geheim", owner_pw="o"
    )
    free = text_pdf(tmp_path / "b.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="", owner_pw="o")
    assert render(tmp_path, free)[0].to_read == 3
    assert render(tmp_path, locked, password="geheim")[0].to_read == 3
    error = render(tmp_path, locked)[0].opened[0].error
    assert error == "encrypted: needs a password (give --password)"
    assert "does not open it" in render(tmp_path, locked, password="x")[0].opened[0].error


def test_a_page_whose_only_image_is_broken_fails_instead_of_counting_as_blank(tmp_path):
    data = image_pdf("/Width 100/Height 100/ColorSpace/DeviceRGB/Filter/DCTDecode", b"no jpeg" * 99)
    page = only_page(tmp_path, data)
    assert page.status is Status.FAILED
    assert "jpeg" in page.reason.lower()


def test_a_broken_image_beside_good_content_flags_the_page(tmp_path):
    jpeg = encoded(Image.effect_noise((600, 600), 90), "JPEG")
    data = image_pdf("/Width 600/Height 600/ColorSpace/DeviceGray/Filter/DCTDecode", jpeg[: len(jpeg) // 2])
    page = only_page(tmp_path, data)
    assert page.status is None
    assert "damaged" in page.flags


def test_an_enormous_image_inside_a_page_is_refused_from_its_header(tmp_path):
    body = zlib.compress(b"\0" * 1000)
    data = image_pdf("/Width 30000/Height 30000/ColorSpace/DeviceRGB/Filter/FlateDecode", body)
    page = only_page(tmp_path, data)
    assert page.status is Status.FAILED
    assert "30000 x 30000 = 900,000,000 pixels" in page.reason


def test_an_enormous_image_inside_a_form_is_refused_too(tmp_path):
    image = stream("/Type/XObject/Subtype/Image/Width 30000/Height 30000/BitsPerComponent 1", b"")
    form = stream(
        "/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</Y 6 0 R/Z 5 0 R>>>>", b"/Y Do"
    )
    page = only_page(tmp_path, raw_pdf([stream("", b"/X Do"), form, image]))
    assert "900,000,000 pixels" in page.reason


def test_odd_names_open(tmp_path):
    source = text_pdf(tmp_path / "a.pdf")
    for name in [b"\xff broken utf-8 \n.pdf", "Ελληνικά 100% #1?.pdf".encode(), b"no extension"]:
        target = tmp_path / os.fsdecode(name)
        shutil.copy(source, target)
        assert render(tmp_path, target)[0].to_read == 3


def test_a_page_beyond_the_end_fails_alone(tmp_path):
    path = text_pdf(tmp_path / "a.pdf")
    report, chunk = renderer(tmp_path).render(call(item(path, PageSpan(3, 4))))
    assert [page.status for page in chunk.pages] == [None, Status.FAILED]
    assert "page 4 does not exist: the document has 3" in chunk.pages[1].reason
    assert report.covered == ((0, PageSpan(3, 4)),)


def test_scans_do_not_grow_memory(tmp_path):
    document = pymupdf.open()
    noise = np.random.default_rng(0).integers(200, 255, (2000, 1500, 3), np.uint8)
    for number in range(10):
        noise[:50, :50] = number
        page = document.new_page(width=500, height=700)
        page.insert_image(page.rect, stream=encoded(Image.fromarray(noise), "JPEG", quality=50))
    document.save(tmp_path / "a.pdf")
    working = renderer(tmp_path, dpi=50)
    used = []
    for _ in range(2):
        for number in range(1, 11):
            working.render(call(item(tmp_path / "a.pdf", PageSpan(number, number))))
            used.append(psutil.Process().memory_info().rss)
    assert max(used[10:]) - max(used[:2]) < 20e6  # each page decodes to 9 MB


def test_nothing_reaches_stdout(tmp_path, capfd):
    render(tmp_path, text_pdf(tmp_path / "a.pdf").read_bytes()[:-400])
    render(tmp_path, image_pdf("/Width 9/Height 9/ColorSpace/DeviceRGB/Filter/DCTDecode", b"no"))
    assert capfd.readouterr().out == ""


SCRIPT = """
import sys
from pathlib import Path
from tests.actors.render_samples import call, item, renderer

folder, path = Path(sys.argv[1]), Path(sys.argv[2])
limits = {"memory_bytes": int(sys.argv[3]), "page_timeout_s": float(sys.argv[4])}
working = renderer(folder, hard_limits=True, dpi=72, **limits)
(page,) = working.render(call(item(path), max_bytes=1))[1].pages
print(page.status, page.reason)
print(working.render(call(item(sys.argv[5])))[0].to_read)
"""


def render_in_a_process_of_its_own(tmp_path, data, memory_bytes=2**31, timeout_s=20.0):
    path = tmp_path / "hostile"
    path.write_bytes(data)
    good = text_pdf(tmp_path / "good.pdf")
    command = [sys.executable, "-c", SCRIPT, tmp_path, path, str(memory_bytes), str(timeout_s), good]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_page_that_hangs_mupdf_kills_its_renderer(tmp_path):
    done = render_in_a_process_of_its_own(tmp_path, laughing_pdf(12), timeout_s=1.0)
    assert done.returncode == -signal.SIGALRM


def test_a_memory_bomb_fails_its_page_and_the_renderer_lives(tmp_path):
    done = render_in_a_process_of_its_own(tmp_path, grouping_pdf(20), memory_bytes=2**28)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("failed needs more memory than the 268,435,456 bytes allowed")
    assert done.stdout.endswith("\n3\n")


def test_an_image_that_needs_too_much_memory_fails_its_page(tmp_path):
    data = encoded(Image.new("RGB", (10_000, 10_000)), "PNG", compress_level=1)
    done = render_in_a_process_of_its_own(tmp_path, data, memory_bytes=2**28)
    assert (done.returncode, done.stderr) == (0, "")
    assert "needs more memory" in done.stdout
    assert done.stdout.endswith("\n3\n")


def test_rendering_loads_no_layout_model():
    code = "import sys, actors.render.pdf; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_whoever_wants_the_layout_models_still_gets_them():
    code = "import actors.render.pdf, pymupdf.layout; assert pymupdf._get_layout"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
