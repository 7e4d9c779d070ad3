"""The whole job on a real Ray, with real weights, over the sample documents."""

import json
import zipfile

import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from dataset import BROKEN, DOCUMENTS, content, job, rows, snapshot

from ocrbatch.config import StorageConfig
from ocrbatch.errors import UsageError
from ocrbatch.evaluation.metrics import WordF1
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.sinks.verify import verify
from ocrbatch.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.usefixtures("local_ray")]

TRUTH = json.loads((DOCUMENTS.parent / "documents-truth.json").read_text("utf8"))


@pytest.fixture(scope="module")
def samples(tmp_path_factory, local_ray):
    """The sample documents, read once."""
    output = tmp_path_factory.mktemp("samples")
    return output, job(output, f"input.uris=[{DOCUMENTS}]")


def test_every_page_is_a_row_and_is_read_well(samples):
    output, report = samples
    assert report.exit_code == 0
    assert report.documents_ignored == 1, "notes.txt is no document, by its name"
    found = rows(output)
    read = {(row["uri"].rsplit("/", 1)[-1], row["page_index"]): row for row in found}
    assert len(read) == len(found) == sum(len(pages) for pages in TRUTH.values())
    f1 = WordF1()
    for name, pages in TRUTH.items():
        for index, lines in enumerate(pages):
            f1.update(" ".join(lines), " ".join(read[name, index]["texts"]))
    assert f1.summary().f1 >= 0.98


def test_rows_keep_the_schema_and_their_lists_their_length(samples):
    output, _ = samples
    (part,) = (output / "pages").glob("part-*.parquet")
    assert pq.read_schema(part).remove_metadata().equals(PAGES)
    for row in rows(output):
        lists = [row[name] for name in ("texts", "scores", "polygons", "boxes", "det_scores", "line_angles")]
        assert len({len(values) for values in lists}) == 1
        for x0, y0, x1, y1 in row["boxes"]:
            assert 0 <= x0 <= x1 <= row["width"]
            assert 0 <= y0 <= y1 <= row["height"]


def test_the_readers_people_use_open_it_as_one_table(samples):
    output, _ = samples
    count = sum(len(pages) for pages in TRUTH.values())
    pattern = str(output / "pages" / "**" / "*.parquet")
    assert duckdb.sql(f"SELECT count(*), sum(len(texts)), max(boxes[1][3]) FROM '{pattern}'").fetchall()[0][0] == count
    assert ds.dataset(output / "pages").to_table().num_rows == count
    assert polars.read_parquet(output / "pages").height == count
    assert polars.scan_parquet(pattern).select(polars.col("texts").list.len().sum()).collect().item() > 0


def test_a_second_run_writes_nothing(samples):
    output, _ = samples
    before = snapshot(output)
    report = job(output, f"input.uris=[{DOCUMENTS}]")
    assert (report.outcome, report.exit_code) == ("nothing_left", 0)
    assert snapshot(output) == before


def test_split_pools_give_the_same_bits_as_one(samples, tmp_path):
    output, _ = samples
    report = job(tmp_path, f"input.uris=[{DOCUMENTS}]", "pipeline.layout=split", "pipeline.page_batch=3")
    assert report.layout == "split"
    assert content(rows(tmp_path)) == content(rows(output))


def test_new_documents_are_added_beside_the_old(samples, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("invoice.png", "letter-rotated.jpg"):
        (source / name).write_bytes((DOCUMENTS / name).read_bytes())
        report = job(output, f"input.uris=[{source}]", "engine.name=fake")
        assert (report.pages, report.exit_code) == (1, 0)
    assert [row["uri"].rsplit("/", 1)[-1] for row in rows(output)] == ["invoice.png", "letter-rotated.jpg"]
    assert len(list((output / "pages").glob("*.parquet"))) == 2


def test_broken_files_are_failures_that_say_what_to_do(tmp_path):
    wanted = [f"input.uris=[{BROKEN}, {DOCUMENTS / 'invoice.png'}]", "engine.name=fake"]
    report = job(tmp_path, *wanted)
    assert report.exit_code == 3
    assert report.pages == 1, "the good page beside them is read"
    failures = rows(tmp_path, "failures")
    codes = {row["uri"].rsplit("/", 1)[-1]: row["code"] for row in failures}
    assert codes == {
        "empty.png": "FILE_EMPTY",
        "encrypted.pdf": "PDF_PASSWORD",
        "truncated.jpg": "IMAGE_TRUNCATED",
        "unknown.bin": "FILE_UNKNOWN",
    }
    assert all(row["stage"] and row["message"] and row["remedy"] and row["attempt"] == 1 for row in failures)
    (part,) = (tmp_path / "failures").glob("*.parquet")
    assert pq.read_schema(part).remove_metadata().equals(FAILURES)
    again = job(tmp_path, *wanted)
    assert (again.outcome, again.exit_code, again.open_failures) == ("nothing_left", 3, 4)


def test_a_password_opens_what_it_fits(tmp_path, monkeypatch):
    secret = tmp_path / "passwords"
    secret.write_text("wrong\nopen sesame\n")
    output = tmp_path / "out"
    rule = f"documents.passwords=[{{pattern: '*encrypted*', file: '{secret}'}}]"
    report = job(output, f"input.uris=[{BROKEN / 'encrypted.pdf'}]", rule)
    assert (report.pages, report.exit_code) == (1, 0)
    assert "Salaries" in rows(output)[0]["text"]
    left = [path for path in output.rglob("*") if path.is_file() and b"open sesame" in path.read_bytes()]
    assert not left, "a password must not be in anything that a run writes"


def test_a_manifest_names_documents_and_its_columns_pass_through(tmp_path):
    table = pa.table(
        {"uri": [str(DOCUMENTS / "invoice.png"), str(tmp_path / "gone.png")], "shelf": pa.array([7, 8], pa.int16())}
    )
    pq.write_table(table, tmp_path / "list.parquet")
    output = tmp_path / "out"
    report = job(output, f"input.manifest={tmp_path / 'list.parquet'}", "engine.name=fake")
    assert report.exit_code == 3
    (row,) = rows(output)
    assert row["shelf"] == 7
    (failure,) = rows(output, "failures")
    assert failure["code"] == "FETCH_NOT_FOUND"
    assert failure["uri"].endswith("gone.png")


def test_archives_and_parquet_that_hold_the_files(samples, tmp_path):
    names = ["invoice.png", "agreement.pdf"]
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        for name in names:
            archive.write(DOCUMENTS / name, f"inner/{name}")
    blobs = pa.table({"path": names, "bytes": [(DOCUMENTS / name).read_bytes() for name in names]})
    pq.write_table(blobs, tmp_path / "blobs.parquet")
    output = tmp_path / "out"
    report = job(output, f"input.uris=[{tmp_path}/*.zip, {tmp_path}/*.parquet]")
    assert (report.pages, report.exit_code) == (6, 0)
    expected = [row for row in content(rows(samples[0])) if row["uri"] in names]
    assert content(rows(output)) == [row for row in expected for _ in range(2)], "from either, the same"


def test_pages_and_partitions(tmp_path):
    wanted = [f"input.uris=[{DOCUMENTS}/*.pdf]", "documents.pages='2-'", "engine.name=fake"]
    assert job(tmp_path, *wanted, r"output.partition_by='(?P<name>\w+)(-\w+)?\.pdf'").exit_code == 0
    files = f"read_parquet('{tmp_path}/pages/**/*.parquet', hive_partitioning=true)"
    found = duckdb.sql(f"SELECT name, page_index FROM {files} ORDER BY ALL").fetchall()
    assert found == [("agreement", 1), ("minutes", 1), ("minutes", 2)]
    assert job(tmp_path, *wanted).outcome == "nothing_left"


def test_detection_alone_and_lines_alone(samples, tmp_path):
    detect = job(tmp_path / "detect", f"input.uris=[{DOCUMENTS / 'invoice.png'}]", "task=detect")
    (found,), (whole,) = rows(tmp_path / "detect"), [r for r in rows(samples[0]) if r["uri"].endswith("invoice.png")]
    assert detect.exit_code == 0
    assert found["polygons"] == whole["polygons"]
    assert (set(found["texts"]), found["text"]) == ({""}, "")

    import cv2

    page = cv2.imread(str(DOCUMENTS / "invoice.png"))
    x0, y0, x1, y1 = max(whole["boxes"], key=lambda box: box[3] - box[1])
    (tmp_path / "lines").mkdir()
    cv2.imwrite(str(tmp_path / "lines" / "line.png"), page[y0:y1, x0:x1])
    job(tmp_path / "read", f"input.uris=[{tmp_path / 'lines'}]", "task=recognize")
    (line,) = rows(tmp_path / "read")
    assert line["boxes"] == [[0, 0, x1 - x0, y1 - y0]]
    assert line["texts"][0] in whole["texts"]


def test_the_output_verifies_and_the_report_lies_beside_it(samples):
    output, report = samples
    assert verify(Storage(StorageConfig()), str(output)).ok
    saved = json.loads((output / "_ocrbatch" / "runs" / f"000000000000-{report.run_id}" / "report.json").read_text())
    assert (saved["pages"], saved["exit_code"], saved["fingerprint"]) == (report.pages, 0, report.fingerprint)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("input.uris=[/nowhere/at/all]", "/nowhere/at/all"),
        ("detection.model_name=PP-OCRv9_det", "PP-OCRv9_det"),
        ("documents.pages=x", "x"),
        ("output.partition_by='/(['", "partition_by"),
        ("output.partition_by='(?P<uri>x)'", "uri"),
        ("input.uris=['http://user:secret@127.0.0.1:9/a.png?sig=1']", "127.0.0.1"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(tmp_path, override, message):
    with pytest.raises(UsageError, match=message):
        job(tmp_path / "out", f"input.uris=[{DOCUMENTS}]", override)
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_the_commands_fault():
    with pytest.raises(UsageError, match="/proc/ocrbatch"):
        job("/proc/ocrbatch", f"input.uris={DOCUMENTS}", "engine.name=fake")


def test_a_set_up_that_fails_in_a_worker_ends_the_run_and_not_its_pages(tmp_path):
    rule = "documents.passwords=[{pattern: '*', env: NO_SUCH_VARIABLE}]"
    with pytest.raises(UsageError, match="NO_SUCH_VARIABLE") as caught:
        job(tmp_path, f"input.uris=[{DOCUMENTS}]", "engine.name=fake", rule)
    assert caught.value.remedy
    assert caught.value.exit_code == 2, "the same command won't do the rest"
    assert not rows(tmp_path, "failures")


def test_a_manifest_whose_column_changed_its_type_is_refused(tmp_path):
    for kind, name in ((pa.int64(), "first"), (pa.string(), "second")):
        value = pa.array([7]).cast(kind)
        pq.write_table(
            pa.table({"uri": [str(DOCUMENTS / "invoice.png")], "shelf": value}), tmp_path / f"{name}.parquet"
        )
    job(tmp_path / "out", f"input.manifest={tmp_path / 'first.parquet'}", "engine.name=fake")
    before = snapshot(tmp_path / "out")
    with pytest.raises(UsageError, match="shelf"):
        job(tmp_path / "out", f"input.manifest={tmp_path / 'second.parquet'}", "engine.name=fake")
    assert snapshot(tmp_path / "out") == before


def test_an_output_inside_the_input_is_not_read(tmp_path):
    (tmp_path / "invoice.png").write_bytes((DOCUMENTS / "invoice.png").read_bytes())
    assert job(tmp_path / "out", f"input.uris=[{tmp_path}]", "engine.name=fake").documents_listed == 1
    again = job(tmp_path / "out", f"input.uris=[{tmp_path}]", "engine.name=fake")
    assert (again.outcome, again.exit_code) == ("nothing_left", 0)


@pytest.mark.s3
def test_s3_in_and_out_give_the_rows_of_the_disk(samples, s3_env, tmp_path):
    bucket = s3_env.bucket()
    storage = Storage(StorageConfig())
    for path in sorted(DOCUMENTS.iterdir()):
        storage.put(f"s3://{bucket}/in/{path.name}", path.read_bytes())
    # In the config and not in the environment: this Ray's workers were started before the server.
    wanted = [f"input.uris=['s3://{bucket}/in/']", *s3_env.overrides()]
    assert job(f"s3://{bucket}/out", *wanted).exit_code == 0
    for entry in storage.list(f"s3://{bucket}/out/pages"):
        target = tmp_path / "pages" / entry.uri.rsplit("/", 1)[-1]
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(storage.read(entry.uri))
    assert content(rows(tmp_path)) == content(rows(samples[0]))
    assert verify(storage, f"s3://{bucket}/out").ok
    assert job(f"s3://{bucket}/out", *wanted).outcome == "nothing_left"


def test_the_report_says_where_the_time_went(samples):
    _, report = samples
    assert list(report.stages) == ["decode", "read", "write"]
    assert report.stages["read"]["pages"] == report.pages
    assert report.stages["read"]["busy"] > 0
    assert 0 < report.padding_ratio < 0.5
    assert list(report.seconds) == ["start", "load", "read", "publish"]
    assert json.loads(report.to_json())["stages"] == report.stages
    read = report.stages["read"]
    assert read["busy"] <= read["workers"] * (report.seconds["read"] + 1)
