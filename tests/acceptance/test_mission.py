"""The mission: what is dropped into a folder lands in the right slot, once, with its image ID recorded."""

import hashlib
import io
import json
import sqlite3
import time

from PIL import Image

from ingestd import samples
from tests.acceptance.conftest import MakePlace
from tests.acceptance.place import Place, SandboxProcess, files_below, wait_until


def test_a_watched_folder_and_all_four_slots_end_in_the_sandbox(
    place: Place, sandbox: SandboxProcess
) -> None:
    good = {
        "lunch.jpg": ("receipt", samples.jpeg(1)),
        "deep/er/scan.pdf": ("receipt", samples.pdf(2, pages=2)),
        "entries/E$1/dinner.png": ("expenseentry/E$1", samples.png(3)),
        "invoices/I-1/paper.pdf": ("invoice/I-1", samples.pdf(4)),
        "reports/R.1/p1.jpg": ("report/R.1", samples.jpeg(5)),
        "reports/R.1/p2.jpg": ("report/R.1", samples.jpeg(6)),
    }
    with place.daemon():
        for path, (_, content) in good.items():
            place.drop(path, content)
        wait_until(
            lambda: list(place.states().values()).count("uploaded") == len(good),
            "all are uploaded",
            place.log,
        )
        wait_until(
            lambda: len(files_below(place.inbox / "uploaded")) == len(good), "all are reported", place.log
        )

    held = {(image["place"], image["sha256"], image["image_id"]) for image in sandbox.images()}
    assert len(sandbox.images()) == len(good)
    recorded = {(r["slot"], r["sha256"], r["image_id"]) for r in place.receipts()}
    assert recorded == held
    assert {(slot, hashlib.sha256(content).hexdigest()) for slot, content in good.values()} == {
        (slot, sha256) for slot, sha256, _ in held
    }
    for path, (_, content) in good.items():
        assert (place.inbox / "uploaded" / path).read_bytes() == content
    assert files_below(place.inbox, ignored=("uploaded", ".ingestd")) == set()
    assert place.balance()["closed"] is True


def blank_page() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (1240, 1754), 255).save(buffer, "PNG")
    return buffer.getvalue()


def test_bad_files_are_rejected_with_a_reason_beside_them_and_good_ones_go_on(
    place: Place, sandbox: SandboxProcess
) -> None:
    bad = {
        "secret.pdf": (samples.encrypted_pdf(password="x"), "password"),
        "white.png": (blank_page(), "blank"),
        "half.jpg": (samples.truncated(samples.jpeg(1)), "half.jpg"),
        "notes.pdf": (samples.text(), "text"),
        "nothing.jpg": (b"", "empty"),
        "bomb.png": (samples.pixel_bomb(), "pixel"),
    }
    with place.daemon():
        for path, (content, _) in bad.items():
            place.drop(path, content)
        place.drop("good.jpg", samples.jpeg(9))
        wait_until(lambda: (place.inbox / "uploaded/good.jpg").exists(), "the good one is through", place.log)
        wait_until(
            lambda: len(files_below(place.inbox / "rejected")) == 2 * len(bad), "all are reported", place.log
        )
    for path, (content, word) in bad.items():
        assert (place.inbox / "rejected" / path).read_bytes() == content
        reason = (place.inbox / "rejected" / f"{path}.reason.txt").read_text()
        assert word.lower() in reason.lower(), reason
    assert [image["sha256"] for image in sandbox.images()] == [hashlib.sha256(samples.jpeg(9)).hexdigest()]
    assert place.balance() | {"closed": True, "seen": 7, "rejected": 6, "uploaded": 1} == place.balance()


def test_a_repeat_is_noted_and_not_uploaded(place: Place, sandbox: SandboxProcess) -> None:
    with place.daemon():
        place.drop("one.jpg", samples.jpeg(1))
        wait_until(lambda: (place.inbox / "uploaded/one.jpg").exists(), "the first is up", place.log)
        place.drop("two.jpg", samples.jpeg(1))
        wait_until(lambda: (place.inbox / "uploaded/two.jpg").exists(), "the repeat is reported", place.log)
    assert len(sandbox.images()) == 1
    note = (place.inbox / "uploaded/two.jpg.repeat.txt").read_text()
    assert sandbox.images()[0]["image_id"] in note
    assert place.balance()["sightings"] == 1


def test_until_idle_does_everything_once_and_tells_by_its_exit_code(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    good = make_place()
    good.drop("a.jpg", samples.small_jpeg(1))
    done = good.ingestd("run", "--until-idle")
    assert "uploaded  a.jpg" in done.stdout
    assert len(sandbox.images()) == 1

    bad = make_place()
    bad.drop("b.pdf", samples.text())
    done = bad.ingestd("run", "--until-idle", expect=3)
    assert "need a person" in done.stderr
    assert "b.pdf" in done.stderr
    bad.ingestd("run", "--until-idle", expect=0)


def test_a_refused_receipt_is_failed_with_the_servers_words_and_can_be_retried_elsewhere(
    place: Place, sandbox: SandboxProcess
) -> None:
    place.drop("nowhere/x.jpg", samples.jpeg(1))
    place.ingestd("run", "--until-idle", expect=3)
    receipt = place.receipts()[0]
    assert receipt["state"] == "failed"
    shown = json.loads(place.ingestd("show", receipt["id"], "--json").stdout)
    assert [entry["event"] for entry in shown["history"]] == ["accept", "prepare", "claim", "begin", "refuse"]
    assert shown["tries"][0]["status"] == 404
    assert shown["tries"][0]["correlation_id"]
    place.ingestd("drop", receipt["id"])
    assert place.states() == {"nowhere/x.jpg": "dropped"}
    assert place.balance()["closed"] is True


def test_a_sidecar_says_where_a_file_goes_and_one_that_shouts_is_heard(
    place: Place, sandbox: SandboxProcess
) -> None:
    place.drop("x.jpg.json", json.dumps({"to": "concur:report/SIDE", "note": "taxi to the fair"}).encode())
    place.drop("x.jpg", samples.jpeg(1))
    place.drop("C.JPG.JSON", json.dumps({"to": "concur:report/LOUD"}).encode())
    place.drop("C.JPG", samples.jpeg(2))
    place.ingestd("run", "--until-idle")
    assert {image["place"] for image in sandbox.images()} == {"report/SIDE", "report/LOUD"}
    receipts = {receipt["path"]: receipt for receipt in place.receipts()}
    assert receipts["x.jpg"]["slot"] == "report/SIDE" and receipts["C.JPG"]["slot"] == "report/LOUD"
    assert receipts["x.jpg"]["fields"]["note"] == "taxi to the fair"
    assert place.balance() | {"seen": 2, "closed": True} == place.balance()


def test_throttling_and_outages_are_waited_out(place: Place, sandbox: SandboxProcess) -> None:
    sandbox.faults(
        faults=[
            {"match": "receipt", "fault": "fail-503", "times": 2},
            {"match": "report/*", "fault": "throttle-0", "times": 2},
            {"match": "invoice/*", "fault": "deadlock-400", "times": 1},
        ]
    )
    place.drop("a.jpg", samples.jpeg(1))
    place.drop("reports/1/b.jpg", samples.jpeg(2))
    place.drop("invoices/1/c.jpg", samples.jpeg(3))
    place.ingestd("run", "--until-idle")
    assert set(place.states().values()) == {"uploaded"}
    assert len(sandbox.images()) == 3


def test_a_lost_answer_is_unconfirmed_and_never_sent_again_by_itself(
    place: Place, sandbox: SandboxProcess
) -> None:
    sandbox.faults(faults=[{"match": "receipt", "fault": "accept-then-drop", "times": 1}])
    place.drop("a.jpg", samples.jpeg(1))
    place.ingestd("run", "--until-idle", expect=3)
    receipt = place.receipts()[0]
    assert receipt["state"] == "unconfirmed"
    place.ingestd("run", "--until-idle")
    assert len(sandbox.images()) == 1
    place.ingestd("confirm", receipt["id"], "--image-id", sandbox.images()[0]["image_id"])
    place.ingestd("run", "--until-idle")
    assert place.receipts()[0]["image_id"] == sandbox.images()[0]["image_id"]
    assert files_below(place.inbox, ignored=(".ingestd",)) == {"uploaded/a.jpg"}


def test_on_unconfirmed_retry_sends_it_again_as_its_setting_warns(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    place = make_place(target='on_unconfirmed = "retry"')
    sandbox.faults(faults=[{"match": "receipt", "fault": "accept-then-drop", "times": 1}])
    place.drop("a.jpg", samples.jpeg(1))
    with place.daemon():
        wait_until(lambda: (place.inbox / "uploaded/a.jpg").exists(), "it is uploaded", place.log)
    assert len(sandbox.images()) == 2


def test_on_unconfirmed_retry_gives_up_when_the_attempts_have_run_out(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    place = make_place(target='on_unconfirmed = "retry"', retry="attempts = 3")
    sandbox.faults(faults=[{"match": "receipt", "fault": "accept-then-drop"}])
    place.drop("a.jpg", samples.jpeg(1))
    with place.daemon():
        wait_until(lambda: place.states() == {"a.jpg": "failed"}, "it gives up", place.log)
    assert len(sandbox.images()) == 3


def test_a_refused_token_pauses_the_target_and_a_new_one_is_picked_up(
    place: Place, sandbox: SandboxProcess
) -> None:
    place.token("expired-token")
    place.drop("a.jpg", samples.jpeg(1))
    with place.daemon():
        wait_until(lambda: "gate.closed" in place.log(), "the refusal is seen", place.log)
        place.token("good-token")
        wait_until(lambda: (place.inbox / "uploaded/a.jpg").exists(), "it is uploaded", place.log)
    assert "expired-token" not in place.log()


def test_until_idle_ends_while_a_target_is_down_and_names_what_waits(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    place = make_place(retry="")
    place.config.write_text(place.config.read_text().replace('unavailable = "500ms"', 'unavailable = "10m"'))
    sandbox.faults(faults=[{"match": "receipt", "fault": "fail-503"}])
    for number in range(20):
        place.drop(f"{number}.jpg", samples.small_jpeg(number))
    done = place.ingestd("run", "--until-idle", "--wait", "3s", expect=3, timeout=60)
    assert "20 receipt(s) wait for a later attempt" in done.stderr
    assert sandbox.images() == []
    assert set(place.states().values()) == {"ready"}


def test_a_missing_original_holds_its_receipt_and_no_other(place: Place, sandbox: SandboxProcess) -> None:
    sandbox.faults(faults=[{"match": "receipt", "fault": "fail-503"}])
    file = place.drop("lost.jpg", samples.jpeg(1))
    place.ingestd("submit", str(file), "--to", "concur:report/1")
    sha256 = hashlib.sha256(samples.jpeg(1)).hexdigest()
    (place.directory / "data/spool" / sha256[:2] / sha256).unlink()
    file.unlink()
    sandbox.faults(faults=[])
    place.drop("good.jpg", samples.jpeg(2))
    place.ingestd("run", "--until-idle", expect=3)
    states = {receipt["filename"]: receipt for receipt in place.receipts()}
    assert states["good.jpg"]["state"] == "uploaded"
    assert states["lost.jpg"]["state"] == "held"
    assert "can't be read from the spool" in states["lost.jpg"]["reason"]


def test_a_claim_left_by_a_crash_that_was_written_to_since_is_another_arrival(
    place: Place, sandbox: SandboxProcess
) -> None:
    place.drop("a.jpg", samples.jpeg(1))
    place.ingestd("run", "--until-idle")
    with sqlite3.connect(place.directory / "data/ledger.db") as ledger:
        ((arrival,),) = ledger.execute("select id from arrivals").fetchall()
    ledger.close()
    left = place.inbox / ".ingestd/claimed" / arrival
    left.mkdir()
    (left / "a.jpg").write_bytes(samples.jpeg(2))
    place.ingestd("run", "--until-idle")
    assert len(sandbox.images()) == 2
    assert not list((place.inbox / ".ingestd/claimed").iterdir())
    assert place.balance()["closed"]


def test_somebody_who_holds_the_ledgers_lock_for_long_is_waited_for(
    place: Place, sandbox: SandboxProcess
) -> None:
    with place.daemon() as process:
        lock = sqlite3.connect(place.directory / "data/ledger.db", isolation_level=None)
        lock.execute("begin immediate")
        place.drop("a.jpg", samples.jpeg(1))
        time.sleep(7)
        lock.execute("rollback")
        lock.close()
        wait_until(lambda: (place.inbox / "uploaded/a.jpg").exists(), "it is uploaded", place.log)
        assert process.poll() is None
    assert len(sandbox.images()) == 1
