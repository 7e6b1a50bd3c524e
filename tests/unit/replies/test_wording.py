from pathlib import Path

import pytest

from ingestd.domain.errors import ConfigurationError
from ingestd.interfaces import Answer
from ingestd.replies import SmtpCorrespondent
from ingestd.replies.wording import FRAMES, LARGEST_TEMPLATE_BYTES, WORDS, Wording
from ingestd.settings import SmtpSettings
from tests.unit.replies.cases import NOW, a_mixed_bag, mailed, receipt
from tests.unit.replies.sink import sink


def problems(directory: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as error:
        Wording.load(directory)
    return error.value.problems


def test_a_sentence_of_ones_own_replaces_the_built_in_one_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / WORDS).write_text('[state]\nuploaded = "Liegt in ${place}: ${image_id}"\n')
    words = Wording.load(tmp_path)
    assert words.say("state.uploaded", place="Concur", image_id="7", date="x") == "Liegt in Concur: 7"
    assert words.say("heading.uploaded") == "Uploaded"


async def test_an_answer_goes_out_in_the_operators_own_words(tmp_path: Path) -> None:
    (tmp_path / "answer.txt").write_text("Dear colleague\n\n${headline}\n${sections}${footer}\n")
    async with sink() as here:
        settings = SmtpSettings(host="127.0.0.1", port=here.port, security="none", sender="a@example.com")
        speaker = SmtpCorrespondent(settings, clock=lambda: NOW, templates=tmp_path)
        await speaker.send(Answer(mailed=mailed(receipt("a.pdf")), to="ann@example.com"))
        await speaker.send(Answer(mailed=a_mixed_bag(), to="ann@example.com"))
    assert b"Dear colleague\r\n\r\nYour receipt was uploaded." in here.received[0].content


def test_every_mistake_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / WORDS).write_text('nonsense = "x"\n[state]\nuploaded = "to ${plaice}"\nheld = "costs $ 5"\n')
    (tmp_path / "entry.txt").write_text("${titel}\n")
    (tmp_path / "entry.html").write_bytes(b"\xff\xfe")
    (tmp_path / "section.txt").write_text("x" * (LARGEST_TEMPLATE_BYTES + 1))
    found = "\n".join(problems(tmp_path))
    for part in (
        "'nonsense'",
        "${plaice}",
        "write a dollar sign as $$",
        "${titel}",
        "UTF-8",
        "is larger than",
    ):
        assert part in found
    assert all(str(tmp_path) in line for line in found.splitlines())


@pytest.mark.parametrize("text", ["[state", "[state]\nheld = 5\n"])
def test_a_file_that_is_no_list_of_sentences_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / WORDS).write_text(text)
    (problem,) = problems(tmp_path)
    assert WORDS in problem


def test_a_directory_that_is_absent_is_a_mistake(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "none")
    assert "There is no directory" in problem


def test_an_empty_directory_changes_nothing(tmp_path: Path) -> None:
    assert Wording.load(tmp_path).say("heading.refused") == Wording.load().say("heading.refused")


def test_copies_of_the_built_in_files_are_accepted(tmp_path: Path) -> None:
    """So that a person can start from them."""
    own = Path(str(__import__("ingestd.replies").replies.__file__)).parent / "templates"
    for name in (WORDS, *FRAMES):
        (tmp_path / name).write_bytes((own / name).read_bytes())
    Wording.load(tmp_path)
