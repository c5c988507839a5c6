"""A workflow's outputs, read from the emulated GitHub over real sockets; and artifacts that lie."""

import io
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.result import StepResult
from gha_step.emulator import (
    EXAMPLE_TOKEN,
    Answer,
    Artifact,
    Close,
    Endless,
    Fault,
    Job,
    Reset,
    Response,
    Run,
    Truncate,
    bad_gateway,
    redirect,
)
from gha_step.github.artifacts import MAX_OBJECT, MOST_VALUES
from gha_step.steps.wait.run_poller import KEPT_OUTPUTS
from gha_step.steps.wait.step import LookUnderway
from tests.support.clock import LONG

from .follower import RUN, Follower, following, told

WANTED: dict[str, Any] = {"outputs": {}, "expectedConclusion": "success"}
VALUES: Any = {"url": "https://example.com", "healthy": True, "count": 3, "list": [1, None, {"a": "b"}], "ratio": 1.5}


def ended(here: Follower, content: Any = ..., conclusion: str = "success", **upload: Any) -> Artifact:
    """A run that has ended, and its artifact."""
    run = here.run()
    artifact = run.upload(VALUES if content is ... else content, **upload)
    run.finish(conclusion)
    return artifact


def packed(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return made.getvalue()


@pytest.fixture
def nothing_leaks(here: Follower, caplog: pytest.LogCaptureFixture) -> Iterator[list[StepResult]]:
    """What was told holds no token and no signed query."""
    heard: list[StepResult] = []
    yield heard
    signatures = [entry.query["sig"] for entry in here.log if "sig" in entry.query]
    heard += here.heard
    said = "".join(answer.to_wire().decode() for answer in heard) + caplog.text + repr(heard)
    for secret in (EXAMPLE_TOKEN, "sig=", *signatures):
        assert secret not in said


def test_the_outputs_of_a_run_are_handed_on_as_they_are(here: Follower) -> None:
    ended(here)
    output = told(here.call(**WANTED))["output"]
    assert output["outputs"] == VALUES
    assert output["conclusion"] == "success"
    assert here.github.count() == 4  # run, artifacts, artifact, storage


@pytest.mark.parametrize("generation", ["ghes-3.19", "ghes-3.21"])
def test_enterprise_servers_have_outputs_too(tmp_path: Path, generation: str) -> None:
    with following(tmp_path, generation) as here:
        ended(here)
        assert told(here.call(**WANTED))["output"]["outputs"] == VALUES


def test_a_file_that_was_uploaded_without_an_archive_is_read_as_well(here: Follower) -> None:
    ended(here, name="out.json", archive=False)
    assert told(here.call(outputs={"artifact": "out.json"}))["output"]["outputs"] == VALUES


def test_while_the_run_goes_on_no_artifact_is_asked_for(here: Follower) -> None:
    here.run().upload(VALUES)
    assert here.call(**WANTED).status == "Running"
    assert here.github.count("list-artifacts") == 0


def test_without_the_field_no_artifact_is_asked_for(here: Follower) -> None:
    ended(here)
    assert "outputs" not in told(here.call())["output"]
    assert here.github.count() == 1


@pytest.mark.parametrize("written", [{}, "{}", {"artifact": "kargo-outputs"}, '{"required": "true"}'])
def test_the_field_may_be_an_object_or_text_with_one(here: Follower, written: object) -> None:
    ended(here)
    assert told(here.call(outputs=written))["output"]["outputs"] == VALUES


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (None, "config.outputs: must be an object"),
        (True, "config.outputs: must be an object"),
        ("[]", "config.outputs: must be an object"),
        ("{", "config.outputs: is text, but not a JSON object"),
        ({"artefact": "x"}, "config.outputs.artefact: is not a field of this step; did you mean artifact?"),
        ({"artifact": ""}, "config.outputs.artifact: must not be empty"),
        ({"artifact": 1}, "config.outputs.artifact: "),
        ({"required": "no"}, "config.outputs.required: must be true or false"),
    ],
)
def test_other_shapes_are_refused_by_name(here: Follower, written: object, words: str) -> None:
    result = here.call(outputs=written)
    assert result.status == "Failed"
    assert words in str(result.message)
    assert here.github.count() == 0


def test_the_redirect_is_followed_without_the_token(here: Follower) -> None:
    ended(here)
    here.call(**WANTED)
    (download,) = [entry for entry in here.log if entry.operation == "read-storage"]
    assert not {"authorization", "cookie", "x-github-api-version"} & set(download.headers)


def test_large_integers_become_text_and_null_goes(here: Follower) -> None:
    ended(
        here, {"big": 2**53 + 1, "small": -(2**53) - 1, "exact": 2**53, "none": None, "in": {"none": None, "some": 1}}
    )
    assert told(here.call(**WANTED))["output"]["outputs"] == {
        "big": "9007199254740993",
        "small": "-9007199254740993",
        "exact": 2**53,
        "in": {"some": 1},
    }


def test_the_newest_artifact_counts_whatever_its_id(here: Follower) -> None:
    run = here.run()
    run.upload({"n": 1})
    here.clock.sleep(5)
    run.upload({"n": 2}).id = 1
    run.finish()
    assert told(here.call(**WANTED))["output"]["outputs"] == {"n": 2}


def test_a_failed_run_hands_its_outputs_on_too(here: Follower) -> None:
    ended(here, conclusion="failure")
    result = told(here.call(**WANTED))
    assert (result["status"], result["output"]["outputs"]) == ("Failed", VALUES)


# ---------------------------------------------------------------- none that can be used


def test_a_missing_artifact_fails_with_what_there_is_and_the_fix(here: Follower) -> None:
    ended(here, name="build-log")
    result = told(here.call(**WANTED))
    assert result["status"] == "Failed"
    for words in (
        "ended with success, but it has no outputs",
        "no artifact 'kargo-outputs'",
        "'build-log'",
        "name: kargo-outputs",
    ):
        assert words in result["message"]
    assert result["output"]["conclusion"] == "success"


def test_one_that_is_not_required_is_a_note(here: Follower) -> None:
    here.run().finish()
    result = told(here.call(outputs={"required": False}, expectedConclusion="success"))
    assert result["status"] == "Succeeded"
    assert "no outputs: there is no artifact 'kargo-outputs', the run has no artifacts" in result["message"]
    assert "outputs" not in result["output"]


@pytest.mark.parametrize(("expected", "status"), [("failure", "Succeeded"), (..., "Succeeded"), ("success", "Failed")])
def test_where_the_run_itself_failed_missing_outputs_are_a_note(here: Follower, expected: Any, status: str) -> None:
    here.run().finish("failure")
    result = told(here.call(outputs={}, expectedConclusion=expected))
    assert result["status"] == status
    assert "; no outputs: there is no artifact" in result["message"]


@pytest.mark.usefixtures("nothing_leaks")
def test_an_expired_artifact_fails_with_the_fix(here: Follower) -> None:
    ended(here).expired = True
    assert "has expired: raise its retention-days" in str(here.call(**WANTED).message)
    assert here.github.count("download-artifact") == 0


def test_one_that_expires_between_listing_and_download_fails_too(here: Follower) -> None:
    ended(here)
    here.github.faults.add(Answer(Response.of(410, {"message": "Artifact has expired"})), "download-artifact")
    assert "has expired" in str(here.call(**WANTED).message)


# ---------------------------------------------------------------- attempts


def again(here: Follower, run: Run, *, carry_over: tuple[str, ...]) -> None:
    here.clock.sleep(60)
    run.rerun(jobs=[Job("build"), Job("deploy")], carry_over=carry_over)
    run.finish()


@pytest.mark.usefixtures("nothing_leaks")
def test_the_artifact_of_an_earlier_attempt_is_stale(here: Follower) -> None:
    run = here.run()
    run.upload({"n": 1})
    run.finish("failure", [Job("build"), Job("deploy")])
    again(here, run, carry_over=())
    result = here.call(**WANTED)
    assert result.status == "Failed"
    assert "is stale: an earlier attempt made it" in str(result.message)
    assert here.github.count("download-artifact", "read-storage") == 0


def test_with_carried_over_jobs_it_counts_and_the_message_says_so(here: Follower) -> None:
    run = here.run()
    run.upload({"n": 1})
    run.finish("failure", [Job("build", conclusion="success"), Job("deploy", conclusion="failure")])
    again(here, run, carry_over=("build",))
    result = told(here.call(**WANTED))
    assert result["output"]["outputs"] == {"n": 1}
    assert "the outputs are those of an earlier attempt" in result["message"]
    assert here.github.count("list-jobs") == 1


def test_an_artifact_of_this_attempt_asks_for_no_jobs(here: Follower) -> None:
    run = here.run()
    run.upload({"n": 1})
    run.finish("failure")
    here.clock.sleep(60)
    run.rerun()
    run.upload({"n": 2})
    run.finish()
    assert told(here.call(**WANTED))["output"]["outputs"] == {"n": 2}
    assert here.github.count("list-jobs") == 0


# ---------------------------------------------------------------- artifacts that lie


@cache
def bomb() -> bytes:
    return packed(("a.json", b" " * (64 << 20)))


def crowded() -> bytes:
    return packed(*((f"{n}.json", b"{}") for n in range(5_000)))


def with_lying_size() -> bytes:
    """A bomb whose directory tells of two bytes."""
    made = bytearray(packed(("a.json", b" " * (8 << 20))))
    at = made.rindex(b"PK\x01\x02") + 24
    made[at : at + 4] = (2).to_bytes(4, "little")
    return bytes(made)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (bomb, "the maximum is 262144"),
        (with_lying_size, "its archive is damaged"),
        (b'{"a": "' + b"x" * MAX_OBJECT + b'"}', "the maximum is 262144"),
        (packed(("a.json", b"{}"), ("b.json", b"{}")), "it holds 2 files ('a.json', 'b.json')"),
        (crowded, "it holds more than 100 files"),
        (packed(("a.json", b"{}")).replace(b"a.json", b"\0.json"), "its archive is damaged"),
        (packed(), "it holds no file"),
        (packed(("empty/", b"")), "it holds no file"),
        (packed(("a.json", b"{}"), method=zipfile.ZIP_LZMA), "packed in a way that uploads are not"),
        (packed(("a.json", b"{}"), method=zipfile.ZIP_BZIP2), "packed in a way that uploads are not"),
        (packed(("a.json", b"{}"))[:30], "its archive is damaged"),
        (packed(("a.json", b"{}")).replace(b"a.json", b"b.json", 1), "its archive is damaged"),
        (b"PK\x03\x04", "its archive is damaged"),
        (b"", "is not a JSON object"),
        (b"url=https://example.com", "is not a JSON object"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1e999}', "is too large"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "is not a JSON object"),
        (b"[1]", "but not an object"),
        (b'"text"', "but not an object"),
        (b'{"a":' * 21 + b"1" + b"}" * 21, "nested deeper than 20 levels"),
        (b'{"a":' * 4_000 + b"1" + b"}" * 4_000, "nested too deeply"),
        (packed(("a.json", b'{"a": [' + b"[]," * MOST_VALUES + b"1]}")), "more than 10,000 values and keys"),
    ],
)
def test_an_artifact_that_lies_fails_with_the_reason_at_once(
    here: Follower, nothing_leaks: list[StepResult], stored: bytes | Callable[[], bytes], words: str
) -> None:
    ended(here, stored=stored() if callable(stored) else stored, archive=False)
    nothing_leaks.append(here.call(**WANTED))
    assert nothing_leaks[-1].status == "Failed"
    assert words in str(nothing_leaks[-1].message)
    assert len(str(nothing_leaks[-1].message)) < 2_000


@pytest.mark.usefixtures("nothing_leaks")
def test_memory_is_bounded_whatever_is_unpacked(here: Follower) -> None:
    ended(here, stored=bomb())
    tracemalloc.start()
    here.call(**WANTED)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.usefixtures("nothing_leaks")
def test_thirty_mebibytes_are_refused_unread(here: Follower) -> None:
    ended(here).size = 30 << 20
    assert "has 31457280 bytes" in str(here.call(**WANTED).message)
    assert here.github.count("download-artifact") == 0


@pytest.mark.usefixtures("nothing_leaks")
def test_thirty_mebibytes_that_are_told_as_ten_bytes_are_not_read_to_their_end(here: Follower) -> None:
    ended(here, stored=b" " * (30 << 20)).size = 10
    assert "the maximum is 262144" in str(here.call(**WANTED).message)


@pytest.mark.usefixtures("nothing_leaks")
def test_a_download_without_end_is_ended(here: Follower) -> None:
    ended(here)
    here.github.faults.add(Endless(), "read-storage")
    assert "the maximum is 262144" in str(here.call(**WANTED).message)


@pytest.mark.usefixtures("nothing_leaks")
@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/cron.d/x", "..\\..\\x", "C:\\x.json", "a\x1b[31m.json"])
def test_names_in_an_archive_are_only_names(here: Follower, name: str) -> None:
    before = set(here.folder.rglob("*"))
    ended(here, stored=packed((name, b'{"n": 1}')))
    assert told(here.call(**WANTED))["output"]["outputs"] == {"n": 1}
    assert set(here.folder.rglob("*")) == before


@pytest.mark.usefixtures("nothing_leaks")
def test_names_that_a_message_quotes_are_short_and_printable(here: Follower) -> None:
    ended(here, stored=packed(("\x1b[31m" + "x" * 5_000, b"{}"), ("b", b"{}")))
    message = str(here.call(**WANTED).message)
    assert message.isprintable()
    assert len(message) < 1_000


def test_twenty_levels_are_not_too_deep(here: Follower) -> None:
    ended(here, b'{"a":' * 20 + b"1" + b"}" * 20)
    assert here.call(**WANTED).status == "Succeeded"


def test_a_file_with_a_byte_order_mark_is_read(here: Follower) -> None:
    ended(here, b"\xef\xbb\xbf{}")
    assert told(here.call(**WANTED))["output"]["outputs"] == {}


def test_the_token_is_hidden_in_outputs(here: Follower, nothing_leaks: list[StepResult]) -> None:
    ended(here, {"mine": f"Bearer {EXAMPLE_TOKEN}", EXAMPLE_TOKEN: 1, "list": [EXAMPLE_TOKEN]})
    nothing_leaks.append(here.call(**WANTED))
    assert nothing_leaks[-1].status == "Succeeded"


def test_half_of_a_surrogate_pair_can_be_told(here: Follower) -> None:
    ended(here, b'{"a": "\\ud800"}')
    assert told(here.call(**WANTED))["output"]["outputs"] == {"a": "\N{REPLACEMENT CHARACTER}"}


# ---------------------------------------------------------------- where it is stored


def elsewhere(here: Follower) -> None:
    here.github.storage_url = here.url.replace("127.0.0.1", "localhost")


def test_another_host_is_not_read_from(here: Follower, nothing_leaks: list[StepResult]) -> None:
    elsewhere(here)
    ended(here)
    nothing_leaks.append(here.call(**WANTED))
    assert "is stored at localhost" in str(nothing_leaks[-1].message)
    assert "GHA_STEP_ARTIFACT_HOSTS" in str(nothing_leaks[-1].message)
    assert here.github.count("read-storage") == 0


@pytest.mark.parametrize("hosts", [{"localhost"}, {"other", "localhost"}])
def test_a_host_of_the_setting_is(here: Follower, hosts: set[str]) -> None:
    elsewhere(here)
    here.restart(artifact_hosts=frozenset(hosts))
    ended(here)
    assert told(here.call(**WANTED))["output"]["outputs"] == VALUES


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/x?sig=abcdefghij",
        "https://blob.core.windows.net.evil.example/x?sig=abcdefghij",
        "https://evilblob.core.windows.net/x?sig=abcdefghij",
        "https://token@x.blob.core.windows.net/x?sig=abcdefghij",
        "https://x.blob.core.windows.net\\@evil.example/x?sig=abcdefghij",
        "ftp://127.0.0.1/x?sig=abcdefghij",
        "//127.0.0.1/x?sig=abcdefghij",
        "/x?sig=abcdefghij",
        "https://127.0.0.1:99999/x?sig=abcdefghij",
        "https://x.blob.core.windows.net:0/x?sig=abcdefghij",
        "http://[::1]:9/x?sig=abcdefghij",
        "https:///x?sig=abcdefghij",
    ],
)
def test_a_redirect_to_anywhere_else_is_not_followed(
    here: Follower, nothing_leaks: list[StepResult], location: str
) -> None:
    ended(here)
    here.github.faults.add(redirect(location, 302), "download-artifact")
    nothing_leaks.append(here.call(**WANTED))
    assert nothing_leaks[-1].status == "Failed"
    assert "abcdefghij" not in str(nothing_leaks[-1].message)
    assert here.github.count("read-storage") == 0


def test_a_second_redirect_is_not_followed(here: Follower, nothing_leaks: list[StepResult]) -> None:
    ended(here)
    here.github.faults.add(redirect(f"{here.url}/_storage/artifacts/1?sig=loop", 302), "read-storage", times=None)
    nothing_leaks.append(here.call(**WANTED))
    assert "redirects once more, which is not followed" in str(nothing_leaks[-1].message)
    assert here.github.count("read-storage") == 1


# ---------------------------------------------------------------- trouble


@pytest.mark.parametrize(
    "fault", [Reset(), Close(), bad_gateway(), Truncate(), Answer(Response(403)), Answer(Response(404))]
)
@pytest.mark.parametrize("operation", ["list-artifacts", "download-artifact", "read-storage"])
def test_trouble_that_passes_is_waited_out(
    here: Follower, nothing_leaks: list[StepResult], fault: Fault, operation: Any
) -> None:
    ended(here)
    here.github.faults.add(fault, operation)
    nothing_leaks += here.follow(**WANTED)
    assert told(nothing_leaks[-1])["output"]["outputs"] == VALUES
    assert len(nothing_leaks) == 2


@pytest.mark.parametrize("fault", [Reset(), Answer(Response(403, body=b"sig=abcdefghij")), bad_gateway()])
def test_a_storage_that_stays_away_ends_the_wait_after_minutes(
    here: Follower, nothing_leaks: list[StepResult], fault: Fault
) -> None:
    ended(here)
    here.github.faults.add(fault, "read-storage", times=None)
    began = here.clock.monotonic()
    nothing_leaks += here.follow(**WANTED)
    assert nothing_leaks[-1].status == "Failed"
    assert 300 <= here.clock.monotonic() - began < 400
    assert "but it has no outputs" in str(nothing_leaks[-1].message)


def test_a_refusal_is_final_when_two_looks_ten_seconds_apart_saw_it(here: Follower) -> None:
    ended(here)
    here.github.faults.add(
        Answer(Response.of(403, {"message": "Resource not accessible by integration"})), "list-artifacts", times=None
    )
    answers = here.follow(**WANTED)
    assert [answer.status for answer in answers] == ["Running", "Failed"]
    assert "give the GitHub App the permission Actions: read" in str(answers[-1].message)


def test_a_rate_limit_is_waited_out(here: Follower) -> None:
    ended(here)
    here.github.limit_rate(600, operation="list-artifacts")
    began = here.clock.monotonic()
    answers = here.follow(**WANTED)
    assert answers[-1].status == "Succeeded"
    assert here.clock.monotonic() - began >= 600
    assert here.github.count("list-artifacts") == 2


def test_outputs_that_nobody_has_fetched_take_bounded_memory(here: Follower) -> None:
    text = "x" * 250_000
    ended(here, {"text": text})
    first = here.begin(**WANTED)
    assert isinstance(first, LookUnderway)
    first.ready.result(timeout=LONG)
    for number in range(1, KEPT_OUTPUTS // 250_000 + 1):
        ended(here, {"text": text})
        assert here.call(runID=str(RUN + number), **WANTED).status == "Succeeded"
    assert first.answer().status == "Running"
    assert "read once more" in str(first.answer().message)
    assert told(here.call(**WANTED))["output"]["outputs"] == {"text": text}
