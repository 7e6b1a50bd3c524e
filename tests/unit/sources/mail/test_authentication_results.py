import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.sources.mail.authentication_results import (
    LONGEST_FIELD,
    Result,
    ServerResults,
    believed,
    parse,
)

OURS = "mx.example.com"
PASS = f"{OURS}; dmarc=pass header.from=bank.example"
FAIL = f"{OURS}; dmarc=fail header.from=bank.example"


def only(value: str) -> Result:
    found = parse(value)
    assert found is not None
    (result,) = found.results
    return result


def ids(*values: str, trusted: tuple[str, ...] = (OURS,)) -> list[str]:
    return [found.authserv_id for found in believed(values, trusted)]


# --- reading


def test_a_field_names_its_server_and_each_result_with_its_properties() -> None:
    found = parse(
        "MX.example.com 1;\r\n\tdkim=pass (2048-bit key) header.d=example.org header.b=H5q/Xz+j;\r\n"
        '\tspf=pass reason="so it is" smtp.mailfrom=ann@example.org;\r\n'
        "\tdmarc=PASS (p=NONE) Header.From=example.org"
    )
    assert found == ServerResults(
        authserv_id=OURS,
        results=(
            Result(
                method="dkim", result="pass", properties={"header.d": "example.org", "header.b": "H5q/Xz+j"}
            ),
            Result(
                method="spf",
                result="pass",
                properties={"reason": "so it is", "smtp.mailfrom": "ann@example.org"},
            ),
            Result(method="dmarc", result="pass", properties={"header.from": "example.org"}),
        ),
    )


def test_no_result_at_all_is_read() -> None:
    assert parse("mx.example.com 1; none") == ServerResults(authserv_id=OURS, results=())
    assert parse("mx.example.com") == ServerResults(authserv_id=OURS, results=())


def test_blanks_and_comments_may_stand_between_all_parts() -> None:
    result = only(
        "mx.example.com (a(b)\\)c) (; dmarc=fail) 1 ; dkim / 1 = (x) pass header . d (y) = example.org"
    )
    assert result == Result(method="dkim", result="pass", properties={"header.d": "example.org"})


def test_the_field_of_exchange_online_has_no_name() -> None:
    found = parse(
        "spf=pass (sender IP is 192.0.2.7) smtp.mailfrom=example.org; contoso.example;"
        " dkim=pass (signature was verified) header.d=example.org;dmarc=pass action=none"
        " header.from=example.org;compauth=pass reason=100"
    )
    assert found is not None
    assert found.authserv_id == ""
    assert [result.method for result in found.results] == ["spf", "dkim", "dmarc", "compauth"]
    assert found.results[2].properties["header.from"] == "example.org"


@pytest.mark.parametrize(
    "value",
    [
        "",
        ";",
        "; dmarc=pass header.from=bank.example",
        "mx.example.com 2; dmarc=pass header.from=bank.example",
        "mx.example.com and more; dmarc=pass",
        "mx.example.com; (never closed; dmarc=pass",
        "mx.example.com; (((((; dmarc=pass",
        'mx.example.com; "never closed; dmarc=pass',
        "mx.example.com; closed) dmarc=pass",
        # MAIL FROM:<"a); dmarc=pass header.from=bank.example; x=(b"@evil.example>, put into a comment
        'mx.example.com; spf=pass (domain of "a); dmarc=pass header.from=bank.example; x=(b"@evil.example)',
        "mx.example.com; dmarc=pass\x00",
        "mx.example.com; dmarc=pass\N{NO-BREAK SPACE}x",
        "mx.example.com;" + " " * LONGEST_FIELD,
    ],
)
def test_a_field_that_cannot_be_taken_apart_says_nothing(value: str) -> None:
    assert parse(value) is None


@pytest.mark.parametrize(
    "part",
    [
        "none",
        "dmarc",
        "=pass",
        "dmarc=",
        "dmarc/2=pass header.from=x.example",
        "well then dmarc=pass",
        '"dmarc"=pass',
    ],
)
def test_a_part_that_is_no_result_is_left_out(part: str) -> None:
    assert only(f"{OURS}; {part}; spf=none").method == "spf"


def test_the_equals_signs_of_a_bounce_address_belong_to_it() -> None:
    result = only(f"{OURS}; spf=pass smtp.mailfrom=prvs=12=ann@example.org smtp.helo=x.example")
    assert result.properties == {"smtp.mailfrom": "prvs=12=ann@example.org", "smtp.helo": "x.example"}


def test_what_stands_in_strings_and_comments_is_no_result() -> None:
    found = parse(
        f'{OURS}; spf=pass (dmarc=pass header.from="bank.example"; x) '
        'reason="; dmarc=pass header.from=bank.example" '
        'smtp.mailfrom="a\\"; dmarc=pass header.from=bank.example"@evil.example'
    )
    assert found is not None
    (result,) = found.results
    assert result.method == "spf"
    assert result.properties["smtp.mailfrom"].endswith("@evil.example")


@pytest.mark.parametrize(
    "properties",
    [
        "smtp.mailfrom=bank.example (x)@evil.example",
        "smtp.mailfrom=bank.example smtp.mailfrom=evil.example",
        'smtp.mailfrom=bank.example "x"@evil.example',
        "smtp.mailfrom=bank.example and more",
    ],
)
def test_a_result_that_can_be_read_in_two_ways_keeps_no_property(properties: str) -> None:
    assert only(f"{OURS}; spf=pass {properties}") == Result(method="spf", result="pass")


@given(st.text(max_size=300) | st.text(alphabet='ab=;.()" \\\t\r\n/@1', max_size=300))
def test_no_text_breaks_the_reader(value: str) -> None:
    found = parse(value)
    assert found is None or all(result.method and result.result for result in found.results)


@given(
    st.lists(
        st.sampled_from(["(", ")", '"', "\\", ";", "=", " ", "dmarc", "pass", "header.from", "bank.example"]),
        max_size=60,
    )
)
def test_no_local_part_in_a_string_becomes_a_result(pieces: list[str]) -> None:
    local = "".join(pieces).replace("\\", "\\\\").replace('"', '\\"')
    found = parse(f'{OURS}; spf=pass smtp.mailfrom="{local}"@evil.example')
    assert found is not None
    (result,) = found.results
    assert result.method == "spf"
    assert result.properties["smtp.mailfrom"].endswith("@evil.example")


@pytest.mark.parametrize(
    "unit", ["(", '"', '\\"', "()", "(\\", '""', "=", ";", "a=b;", "a ", ". ", "a=b ", '"\\a', "/"]
)
def test_the_longest_field_takes_as_many_steps_for_each_character_as_a_short_one(unit: str) -> None:
    """CPU time of eight times the text: sixty-four times as long would be quadratic."""

    def cpu_s(size: int) -> float:
        value = f"{OURS};" + unit * ((size - 20) // len(unit))
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            parse(value)
            best = min(best, time.process_time() - start)
        return best

    assert cpu_s(LONGEST_FIELD) < 30 * max(cpu_s(LONGEST_FIELD // 8), 1e-4)


# --- believing


def test_the_topmost_field_of_our_server_is_believed() -> None:
    assert ids(PASS) == [OURS]
    assert ids(PASS, trusted=("MX.Example.COM",)) == [OURS]


def test_a_field_of_another_server_is_not_believed() -> None:
    assert ids("mx.evil.example; dmarc=pass header.from=bank.example") == []
    assert ids("mx.example.com.evil.example; dmarc=pass") == []
    assert ids(PASS, trusted=()) == []


def test_a_forged_field_with_our_name_below_our_own_is_not_believed() -> None:
    (found,) = believed([FAIL, PASS], [OURS])
    assert found.results[0].result == "fail"


def test_a_forged_method_that_our_server_does_not_report_is_not_believed() -> None:
    (found,) = believed([f"{OURS}; spf=fail smtp.mailfrom=evil.example", PASS], [OURS])
    assert [result.method for result in found.results] == ["spf"]


def test_a_field_with_our_name_below_another_server_is_not_believed() -> None:
    assert ids("relay.example.net; spf=pass smtp.mailfrom=evil.example", PASS) == []


def test_nothing_below_an_unreadable_field_is_believed() -> None:
    assert ids("mx.example.com; (dmarc=fail", PASS) == []
    assert ids("", PASS) == []
    assert ids(f"{OURS};{' ' * LONGEST_FIELD}dmarc=fail", PASS) == []


def test_two_trusted_names_on_top_are_believed_once_each() -> None:
    both = (OURS, "filter.example.com")
    inner = "filter.example.com; dkim=pass header.d=evil.example"
    assert ids(PASS, inner, trusted=both) == [OURS, "filter.example.com"]
    assert ids(inner, FAIL, inner, PASS, trusted=both) == ["filter.example.com", OURS]


def test_a_field_without_a_name_is_believed_only_where_that_is_asked_for() -> None:
    nameless = "spf=pass smtp.mailfrom=evil.example; dmarc=pass header.from=bank.example"
    assert ids(nameless) == []
    assert ids(nameless, trusted=("",)) == [""]
