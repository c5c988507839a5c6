"""What the POST looks like, and what every answer to it proves: the answer table of ledger.md."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.secret import Token
from gha_step.github.dispatch import RUN_DETAILS, AcceptedWithoutRun, StartedRun, decipher_dispatch, dispatch_request
from gha_step.github.errors import GitHubError, RateLimited, Refused, Unclear, Unsupported
from gha_step.github.messages import API_2022, API_2026, VERSION_HEADER, Answer, Dialect, date
from gha_step.github.refusals import read_refusal
from gha_step.github.runs import RunReference
from tests.github.answers import DATE, answer, said, workflow
from tests.support.rows import each_row

TOKEN = Token("ghp_hidden")
NOW = 1_700_000_000
RUN = {
    "workflow_run_id": 17,
    "run_url": "https://api.github.com/repos/myorg/my-app/actions/runs/17",
    "html_url": "https://github.com/myorg/my-app/actions/runs/17",
}


def decipher(given: Answer, **names: Any) -> StartedRun | AcceptedWithoutRun:
    given_workflow = workflow(**names.pop("names", {}))
    inputs, dialect = names.pop("inputs", {}), names.pop("dialect", Dialect())
    return decipher_dispatch(given, given_workflow, inputs, names.pop("token", TOKEN), dialect)


def refusal(given: Answer, **names: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        decipher(given, **names)
    return caught.value


def limit(given: Answer) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        decipher(given)
    return caught.value


def writable(text: str) -> bool:
    """Whether the text can be encoded: half of a surrogate pair cannot."""
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)


# ---------------------------------------------------------------- the request


def test_the_post_carries_ref_inputs_and_the_wish_for_run_details() -> None:
    request = dispatch_request(workflow(), {"environment": "prod"}, TOKEN, Dialect())
    assert (request.method, request.target) == (
        "POST",
        "/repos/myorg/my-app/actions/workflows/deploy.yml/dispatches",
    )
    assert json.loads(request.body) == {"ref": "main", "inputs": {"environment": "prod"}, "return_run_details": True}
    headers = dict(request.headers)
    assert headers["Host"] == "api.github.com"
    assert headers["Authorization"] == "Bearer ghp_hidden"
    assert headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert headers["Content-Length"] == str(len(request.body))
    assert "Expect" not in headers
    assert headers["User-Agent"]


def test_without_inputs_the_key_is_left_out() -> None:
    assert "inputs" not in json.loads(dispatch_request(workflow(), {}, TOKEN, Dialect()).body)


def test_what_a_server_refuses_is_left_out() -> None:
    request = dispatch_request(workflow(), {}, TOKEN, Dialect(None, key_known=False))
    assert json.loads(request.body) == {"ref": "main"}
    assert VERSION_HEADER not in dict(request.headers)


def test_names_are_escaped_into_one_segment_each() -> None:
    odd = workflow(owner="a b", repo="ä&b=c", file="x;y:z@1.yml")
    target = dispatch_request(odd, {}, TOKEN, Dialect()).target
    assert target == "/repos/a%20b/%C3%A4%26b%3Dc/actions/workflows/x%3By%3Az%401.yml/dispatches"
    assert target.isascii()


def test_an_enterprise_server_is_addressed_below_its_own_path_and_host() -> None:
    request = dispatch_request(workflow("https://ghe.example.com:8443/x"), {}, TOKEN, Dialect())
    assert request.target.startswith("/x/api/v3/repos/")
    assert dict(request.headers)["Host"] == "ghe.example.com:8443"


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_inputs_arrive_as_they_are(inputs: dict[str, str]) -> None:
    body = json.loads(dispatch_request(workflow(), inputs, TOKEN, Dialect()).body)
    assert body.get("inputs", {}) == inputs


def test_a_request_does_not_show_its_token_when_it_is_printed() -> None:
    assert "ghp_hidden" not in str(workflow())


# ---------------------------------------------------------------- exact, accepted


@pytest.mark.parametrize("run_id", [1, 17, 2**31, 2**53 + 1, 2**62])
def test_a_200_that_names_a_run_is_exact(run_id: int) -> None:
    started = decipher(answer(200, RUN | {"workflow_run_id": run_id}))
    assert started == StartedRun(run_id, RUN["html_url"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", [None, 5, "", "javascript:alert(1)", "//evil", "ftp://x", "https://evil.example/x", "http://github.com/x"]
)
def test_a_link_that_is_none_is_made_from_the_runs_id(url: object) -> None:
    assert decipher(answer(200, RUN | {"html_url": url})) == StartedRun(17, RUN["html_url"])  # type: ignore[arg-type]


def test_a_link_that_cannot_be_written_is_made_from_the_runs_id() -> None:
    started = decipher(answer(200, b'{"workflow_run_id": 17, "html_url": "https://github.com/\\ud800"}'))
    assert isinstance(started, StartedRun)
    assert writable(started.url)


def test_a_204_is_accepted_without_an_id_and_tells_githubs_time() -> None:
    assert decipher(answer(204)) == AcceptedWithoutRun(NOW)


@pytest.mark.parametrize("text", ["", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT", "0", "Tue, 14 Nov"])
def test_a_204_without_a_readable_date_is_accepted_all_the_same(text: str) -> None:
    assert decipher(answer(204, date=text)) == AcceptedWithoutRun(None)


@pytest.mark.parametrize(
    "text", ["Tue, 14 Nov 2023 22:13:20 +99999999999999", "Tue, 14 Nov 99999999999999999999 22:13:20 GMT"]
)
def test_a_204_with_an_absurd_date_is_accepted_all_the_same(text: str) -> None:
    assert decipher(answer(204, date=text)) == AcceptedWithoutRun(None)


def test_githubs_clock_is_read_from_its_date() -> None:
    assert date(answer(200, date=DATE)) == NOW
    assert date(Answer(200, {}, b"")) is None


# ---------------------------------------------------------------- refused

REFUSED = [300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 407, 410, 413, 415, 421, 422, 451]


@each_row("status", REFUSED)
@each_row("body", [None, b"<html>", {"message": "Words"}, ["x"], b"\xff", {"message": ["x"]}])
def test_a_refusal_is_one_whatever_its_body(status: int, body: Any) -> None:
    error = refusal(answer(status, body))
    assert error.status == status
    assert error.retry_after is None
    assert "myorg/my-app workflow deploy.yml on ref main" in str(error)
    assert str(status) in str(error)


@each_row(
    ("status", "words", "advice"),
    [
        (422, "No ref found for: main", "there is no branch or tag main"),
        (422, 'Unexpected inputs provided: ["x"]', "declare them under on.workflow_dispatch.inputs of deploy.yml"),
        (422, "Required input 'x' not provided", "add it to inputs"),
        (422, "Provided value '' for input 'x' not in the list of allowed values", "leave the input out"),
        (422, "Workflow does not have 'workflow_dispatch' trigger", "add `workflow_dispatch:` under `on:`"),
        (422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow", "enable the workflow"),
        (403, "Resource not accessible by integration", "Actions: write"),
        (403, "Resource not accessible by personal access token", "Actions: read and write"),
        (403, "Repository was archived so is read-only.", "unarchive"),
        (403, "Resource protected by organization SAML enforcement.", "single sign-on"),
        (403, "Must have admin rights to Repository.", "Actions: write"),
        (401, "Bad credentials", "the token is wrong, expired or revoked"),
        (404, "Not Found", "default branch has no .github/workflows/deploy.yml"),
        (307, "Temporary Redirect", "renamed or moved"),
        (407, "", "asks for a login"),
        (418 - 3, "", "correct the step's config"),
        (451, "Repository access blocked", "GitHub has blocked myorg/my-app for legal reasons"),
    ],
)
def test_a_refusal_carries_githubs_words_and_says_what_to_do(status: int, words: str, advice: str) -> None:
    message = str(refusal(said(status, words)))
    assert words in message
    assert advice in message


def test_a_run_that_is_gone_is_looked_for_in_the_fields_that_name_it() -> None:
    run = RunReference(workflow().endpoint, "myorg", "my-app", 5)
    message = str(read_refusal(said(410, "Gone"), run.asked, TOKEN))
    assert message.endswith("(410: 'Gone'): GitHub no longer has it: correct runID, owner or repo")


def test_githubs_words_are_one_line_of_bounded_length() -> None:
    message = str(refusal(said(422, "a\r\nb\n" + "x" * 100_000)))
    assert "\n" not in message
    assert len(message) < 1000


def test_words_that_cannot_be_written_do_not_get_in() -> None:
    assert writable(str(refusal(answer(422, b'{"message": "No ref \\ud800"}'))))


def test_braces_in_names_and_words_stay_braces() -> None:
    with pytest.raises(Refused, match=r"no branch or tag \{file\}"):
        decipher(said(422, "No ref found for: {file}"), names={"ref": "{file}"})


# ---------------------------------------------------------------- refused, may retry


@each_row("status", [403, 429])
@each_row(
    ("headers", "wait"),
    [
        ({"retry_after": "60"}, 60.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(NOW + 90)}, 90.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(NOW - 90)}, 0.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "soon"}, None),
        ({"x_ratelimit_remaining": "0"}, None),
        ({"retry_after": "7", "x_ratelimit_remaining": "0", "x_ratelimit_reset": str(NOW + 90)}, 7.0),
    ],
)
def test_a_rate_limit_tells_how_long_to_wait_by_githubs_own_clock(
    status: int, headers: dict[str, str], wait: float | None
) -> None:
    error = limit(said(status, "Something", **headers))
    assert error.wait == wait
    assert error.retry_after == (60.0 if wait is None else max(wait, 1.0))


@pytest.mark.parametrize(
    "words",
    [
        "API rate limit exceeded for x",
        "You have exceeded a secondary RATE LIMIT",
        "You have triggered an abuse detection mechanism",
    ],
)
def test_a_403_that_speaks_of_a_limit_is_one_without_any_header(words: str) -> None:
    assert limit(said(403, words)).wait is None


@pytest.mark.parametrize("value", ["soon", "-5", "1.5", "", "٣"])
def test_a_retry_after_that_is_no_number_of_seconds_is_unknown(value: str) -> None:
    assert limit(said(429, "Too many", retry_after=value)).wait is None


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    ("after", "wait"),
    [
        ("Tue, 14 Nov 2023 22:14:00 GMT", 40.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("7.5", None),
        ("-5", None),
        ("soon", None),
    ],
)
def test_retry_after_is_a_rate_limit_however_it_is_written(status: int, after: str, wait: float | None) -> None:
    assert limit(Answer(status, {"retry-after": after, "date": DATE}, b"{}")).wait == wait


def test_without_githubs_date_a_reset_time_means_nothing() -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW + 90)}
    assert limit(Answer(403, headers, b"{}")).wait is None


@pytest.mark.parametrize("status", [400, 422])
def test_the_refused_key_is_asked_again_without_once(status: int) -> None:
    words = 'Invalid request.\n\n"return_run_details" is not a permitted key.'
    with pytest.raises(Unsupported) as caught:
        decipher(said(status, words))
    assert caught.value.feature == RUN_DETAILS
    assert refusal(said(status, words), dialect=Dialect(key_known=False)).status == status
    assert refusal(said(status, words), dialect=Dialect(API_2026)).status == status


OLD_VERSION = 'The version you specified in the "X-GitHub-API-Version" request header, "2022-11-28", is not supported'


@pytest.mark.parametrize("body", [{"message": "Bad Request", "errors": OLD_VERSION}, {"message": OLD_VERSION}])
@pytest.mark.parametrize("version", [API_2022, API_2026])
def test_the_unknown_api_version_is_asked_again_without_once(body: dict[str, str], version: str) -> None:
    with pytest.raises(Unsupported) as caught:
        decipher(answer(400, body), dialect=Dialect(version))
    assert caught.value.feature == VERSION_HEADER
    assert refusal(answer(400, body), dialect=Dialect(None)).status == 400


KEY = '"return_run_details" is not a permitted key.'


@pytest.mark.parametrize(
    "theirs",
    [KEY, f"Invalid request.\n\n{KEY}", f"x\n\n{KEY}", OLD_VERSION, "return_run_details is not a permitted key"],
)
@pytest.mark.parametrize("form", ["No ref found for: {}", "{}", "Invalid request.\n\nFor 'x', {} is not a string."])
@pytest.mark.parametrize("status", [400, 422])
def test_a_text_of_the_user_teaches_nothing_about_the_server(theirs: str, form: str, status: int) -> None:
    for names in ({"ref": theirs}, {"file": theirs}, {"repo": theirs}, {"owner": theirs}):
        assert refusal(said(status, form.format(theirs)), names=names).status == status
    for inputs in ({theirs: "x"}, {"x": theirs}):
        assert refusal(said(status, form.format(theirs)), inputs=inputs).status == status


@pytest.mark.parametrize(
    ("words", "about_us"),
    [
        (f"Invalid request.\n\nFor 'links/0/schema', {KEY}", True),
        (f"Invalid request.\n\nFor 'links/1/schema', \"ref\" wasn't supplied.\nFor 'links/0/schema', {KEY}", True),
        (f"Invalid request.\n\nFor 'links/0/schema/properties/inputs', {KEY}", False),
        (f"Invalid request.\n\nFor 'properties/inputs', {KEY}", False),
    ],
)
def test_our_key_is_refused_of_the_whole_body_only(words: str, about_us: bool) -> None:
    with pytest.raises(Unsupported if about_us else Refused):
        decipher(said(422, words), inputs={"return_run_details": "x"})


@pytest.mark.parametrize("theirs", [KEY, OLD_VERSION, "API rate limit exceeded"])
@pytest.mark.parametrize("change", [str.upper, str.swapcase, lambda text: text[:-1], lambda text: text + "x" * 500])
def test_a_text_of_the_user_that_github_repeats_in_part_or_in_another_case_is_still_the_users(
    theirs: str, change: Callable[[str], str]
) -> None:
    for status in (400, 403, 422):
        given = said(status, change(theirs)[:200])
        assert refusal(given, names={"ref": theirs + "x" * 500}).status == status
        assert refusal(given, inputs={"x": change(theirs) + "y" * 500}).status == status


@pytest.mark.parametrize("theirs", [KEY, OLD_VERSION])
def test_the_end_of_a_users_text_in_the_midst_of_a_message_teaches_nothing(theirs: str) -> None:
    for status in (400, 422):
        given = said(status, f"No ref found for: …{theirs}")
        assert refusal(given, names={"ref": f"{'a' * 50}{theirs}"}).status == status


def test_a_message_is_read_without_taking_the_square_of_its_length() -> None:
    for filling in (" ", "\n", "\\", "a "):
        words = f"Invalid request.{filling * 100_000}"
        assert refusal(said(422, words), inputs={"x": words[:60_000]}).status == 422


@pytest.mark.parametrize("body", ['{"workflow_run_id": 17, "workflow_run_id": 18}', '{"workflow_run_id": 17, "x": %s}'])
def test_two_ids_are_none_and_so_is_what_cannot_be_taken_apart(body: str) -> None:
    deep = "[" * 900 + '"\\u0067hp_hidden"' + "]" * 900
    with pytest.raises(Unclear):
        decipher(Answer(200, {}, body.replace("%s", deep).encode()))


@pytest.mark.parametrize("ref", ["key", "is", "return_run_details", "a", ".", '"'])
def test_a_refused_key_is_known_whatever_the_ref(ref: str) -> None:
    with pytest.raises(Unsupported):
        decipher(said(422, f"Invalid request.\n\n{KEY}"), names={"ref": ref}, inputs={ref: ref})


def test_a_refused_key_is_known_beside_other_problems() -> None:
    with pytest.raises(Unsupported):
        decipher(said(422, f"Invalid request.\n\nNo more than 10 properties are allowed; 11 were supplied.\n{KEY}"))


@pytest.mark.parametrize("words", ["No ref found for: rate limit", "abuse detection", "Unexpected inputs: rate limit"])
def test_a_text_of_the_user_is_no_rate_limit(words: str) -> None:
    assert refusal(said(403, words)).status == 403


@pytest.mark.parametrize("ref", ["saml", "sso", "archived", "disabled workflow", "associated", "too many"])
def test_a_text_of_the_user_is_no_cause(ref: str) -> None:
    message = str(refusal(said(422, f"No ref found for: {ref}"), names={"ref": ref}))
    assert message.endswith(f"there is no branch or tag {ref}: GitHub accepts no commit SHA; push it or correct ref")


@pytest.mark.parametrize("key", ["inputs", "ref", "x"])
def test_another_key_that_is_not_permitted_is_a_plain_refusal(key: str) -> None:
    assert refusal(said(422, f'Invalid request.\n\n"{key}" is not a permitted key.')).status == 422


@pytest.mark.parametrize(
    "words",
    [
        'Unexpected inputs provided: ["api_version"]',
        "Required input 'api-version' not provided",
        "No ref found for: feature/api-version",
    ],
)
def test_a_users_own_api_version_input_is_no_unknown_api_version(words: str) -> None:
    assert refusal(said(422, words)).status == 422


# ---------------------------------------------------------------- everything else: unclear


@each_row(
    "status",
    [201, 202, 203, 205, 206, 299, 402, 408, 409, 411, 418, 423, 424, 425, 499, 500, 501, 502, 503, 504, 599],
)
@each_row("body", [b"", b"<html>Bad Gateway</html>", RUN])
def test_any_other_status_proves_nothing(status: int, body: Any) -> None:
    with pytest.raises(Unclear, match=str(status)):
        decipher(answer(status, body))


@each_row(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"17",
        b"NaN",
        b"[" * 50_000,
        {},
        {"id": 17},
        {"workflow_run_id": None},
        {"workflow_run_id": 0},
        {"workflow_run_id": -17},
        {"workflow_run_id": True},
        {"workflow_run_id": 17.0},
        {"workflow_run_id": "17"},
        {"workflow_run_id": [17]},
        {"workflow_run_id": {"id": 17}},
        b'{"workflow_run_id": 1' + b"0" * 5000 + b"}",
    ],
)
def test_a_200_that_names_no_run_proves_nothing(body: Any) -> None:
    with pytest.raises(Unclear):
        decipher(answer(200, body))


@given(
    st.integers(min_value=200, max_value=599),
    st.binary(max_size=60),
    st.dictionaries(
        st.sampled_from(["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "location", "x-github-sso"]),
        st.text(max_size=12),
    ),
)
def test_no_answer_whatever_is_read_as_success_but_200_and_204(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    try:
        result = decipher(Answer(status, headers, body))
    except GitHubError as error:
        if 200 <= status < 300 or status >= 500:
            assert isinstance(error, Unclear)  # noqa: PT017
    else:
        assert isinstance(result, AcceptedWithoutRun) == (status == 204)
        assert status in (200, 204)
