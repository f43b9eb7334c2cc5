"""Dates: the calendar, header fields, IMAP's forms."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail import dates

moments = st.integers(-10_000_000_000, 100_000_000_000)


@given(st.dates())
def test_days_count_as_the_calendar_does(day: datetime.date) -> None:
    number = (day - datetime.date(1970, 1, 1)).days
    assert dates.days_since_1970((day.year, day.month, day.day)) == number
    assert dates.day_after_1970(number) == (day.year, day.month, day.day)


@given(moments)
def test_internal_dates_go_there_and_back(seconds: int) -> None:
    assert dates.parse_internal_date(dates.format_internal_date(seconds)) == seconds


def test_internal_date_with_a_zone() -> None:
    moment = datetime.datetime(1996, 7, 17, 9, 44, 25, tzinfo=datetime.UTC).timestamp()
    assert dates.parse_internal_date("17-Jul-1996 02:44:25 -0700") == moment
    assert dates.format_internal_date(moment) == "17-Jul-1996 09:44:25 +0000"


@pytest.mark.parametrize(
    "text",
    ["", "17-Jul-1996", "1-Jul-1996 02:44:25 -0700", "31-Feb-1996 00:00:00 +0000",
     "17-Jul-1996 24:00:00 +0000", "17-Foo-1996 00:00:00 +0000", "17-Jul-1996 00:00:00 +0060"],
)  # fmt: skip
def test_bad_internal_dates(text: str) -> None:
    with pytest.raises(ValueError, match=r"written|no such"):
        dates.parse_internal_date(text)


@pytest.mark.parametrize(
    ("body", "day", "hour"),
    [
        ("Tue, 1 Jul 2003 10:52:37 +0200", (2003, 7, 1), 8),
        ("1 Jul 03 10:52 EST", (2003, 7, 1), 15),
        ("Tue, 1 Jul 2003 10:52:37 (CEST) +0200", (2003, 7, 1), 8),
        ("Thu,  13 Feb 1969 23:32:54 -0330", (1969, 2, 13), 27),
        ("21 Nov 97 09:55:06 GMT", (1997, 11, 21), 9),
        ("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", (1997, 11, 21), 15),
        ("21-Nov-1997 09:55:06 +0000", (1997, 11, 21), 9),
        ("29 Feb 2000", (2000, 2, 29), 0),
    ],
)
def test_date_fields(body: str, day: dates.Day, hour: int) -> None:
    found = dates.parse_date_field(body)
    assert found
    assert found[0] == day
    assert (found[1] - dates.days_since_1970(day) * 86400) // 3600 == hour


@given(st.text(max_size=60))
def test_any_field_is_a_date_or_none(body: str) -> None:
    dates.parse_date_field(body)


@given(st.datetimes(timezones=st.just(datetime.UTC)))
def test_dates_as_python_writes_them(moment: datetime.datetime) -> None:
    moment = moment.replace(microsecond=0, year=max(moment.year, 1900))
    found = dates.parse_date_field(moment.strftime("%a, %d %b %Y %H:%M:%S +0000"))
    assert found == ((moment.year, moment.month, moment.day), int(moment.timestamp()))
