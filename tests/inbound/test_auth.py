"""The bearer token's file and header."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gha_step.inbound.bearer import APART, BELIEVED, FileToken, TokenFileError, bearer, read_token_file
from tests.support.clock import LONG, VirtualClock

READ_AS_NOBODY = """
import os, sys
from pathlib import Path
from gha_step.inbound.bearer import TokenFileError, read_token_file
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    read_token_file(Path(sys.argv[1]))
except TokenFileError as error:
    print(error)
"""


@pytest.mark.parametrize("content", [b"abc", b"abc\n", b"  abc\r\n"])
def test_the_token_is_read_without_white_space_around_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    assert read_token_file(tmp_path / "token").matches("abc")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b" \n\t", "is empty"), (b"\xff\xfe", "not text"), ("ä".encode(), "not text")],
)
def test_a_token_file_without_a_token_is_refused_by_its_path(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(TokenFileError, match=words) as caught:
        read_token_file(path)
    assert str(path) in str(caught.value)


def test_a_missing_token_file_and_a_directory_are_refused_by_their_path(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="does not exist"):
        read_token_file(tmp_path / "token")
    with pytest.raises(TokenFileError, match="directory"):
        read_token_file(tmp_path)


def test_an_unreadable_token_file_names_its_owner_and_our_user(tmp_path: Path) -> None:
    folder = tmp_path.parent
    path = tmp_path / "token"
    path.write_text("abc")
    path.chmod(0o400 if os.geteuid() == 0 else 0o000)
    opened = [part for part in (tmp_path, folder, *folder.parents) if part.stat().st_uid == os.geteuid() != 0]
    del opened  # only root's own directories are in nobody's way
    command = [sys.executable, "-c", READ_AS_NOBODY, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=4 * LONG, check=True).stdout
    assert str(path) in said
    if "uid" in said:
        assert "runs as uid" in said
        assert f"belongs to uid {os.getuid()}" in said or "this process runs as" in said
    assert "abc" not in said


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer   ", None),
        ("Basic abc", None),
        ("Bearerabc", None),
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
    ],
)
def test_only_a_bearer_header_holds_a_token(header: str | None, token: str | None) -> None:
    assert bearer(header) == token


# ---------------------------------------------------------------- a file that is replaced


def test_a_new_token_in_the_file_works_at_once_and_the_old_one_for_ten_seconds_at_most(tmp_path: Path) -> None:
    path, clock = tmp_path / "token", VirtualClock()
    path.write_text("old")
    token = FileToken(path, clock)
    path.write_text("new")
    assert token.matches("old")
    clock.sleep(APART)
    assert token.matches("new")
    assert not token.matches("old")
    path.write_text("newer")
    clock.sleep(BELIEVED)
    assert not token.matches("new")


def test_guesses_do_not_have_the_file_read_more_than_once_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "token", VirtualClock()
    path.write_text("old")
    token = FileToken(path, clock)
    clock.sleep(APART)
    assert not token.matches("guess")
    path.write_text("new")
    assert not token.matches("new")
    clock.sleep(APART)
    assert token.matches("new")


def test_while_the_file_cannot_be_read_its_last_token_counts_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "token", VirtualClock()
    path.write_text("old")
    token = FileToken(path, clock)
    path.unlink()
    for _ in range(3):
        clock.sleep(BELIEVED)
        assert token.matches("old")
    assert caplog.text.count("still counts") == 1
    path.write_text("new")
    clock.sleep(BELIEVED)
    assert token.matches("new")
    assert not token.matches("old")
