"""Dates of header fields and of IMAP (RFC 5322 3.3, RFC 3501 9): text to numbers and back.

Days are (year, month, day); moments are seconds since 1970 in UTC. No clock is read here.
"""

import re

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
Day = tuple[int, int, int]

# Patterns, not compiled: `re` does that, and keeps it, when a date is first read.
_COMMENT = r"\([^()]*\)"
_DATE = (
    r"(?:[A-Za-z]+\.?,?\s+|[A-Za-z]+,\s*)?"
    r"([0-9]{1,2})[\s-]+([A-Za-z]{3})[A-Za-z]*\.?[\s-]+([0-9]{2,4})"
    r"(?:[\s,]+([0-9]{1,2})\s*:\s*([0-9]{1,2})(?:\s*:\s*([0-9]{1,2}))?"
    r"\s*([+-][0-9]{4}|[A-Za-z]{1,5})?)?"
)
_INTERNAL = (
    r"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{4})\Z"
)
_SEARCH = r"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\Z"
_ZONES = {"edt": -240, "est": -300, "cdt": -300, "cst": -360, "mdt": -360, "mst": -420,
          "pdt": -420, "pst": -480}  # RFC 5322 4.3; any other name is UTC  # fmt: skip


def parse_seconds(text: str | bytes) -> float:
    """Read seconds since 1970 as our own files have them; raise ValueError for what is no time."""
    if not text.isdigit() or len(text) > 11:
        raise ValueError("not seconds since 1970")
    return float(text)


def parse_search_date(text: str) -> Day:
    """Read a date as SEARCH writes it, `1-Feb-1994`; raise ValueError."""
    match = re.match(_SEARCH, text)
    if not match:
        raise ValueError("a date is written 1-Feb-1994")
    return _day(int(match[3]), _month(match[2]), int(match[1]))


def parse_internal_date(text: str) -> int:
    """Read `17-Jul-1996 02:44:25 -0700`; give seconds since 1970; raise ValueError."""
    match = re.match(_INTERNAL, text)
    if not match:
        raise ValueError("a date-time is written 17-Jul-1996 02:44:25 -0700")
    day = _day(int(match[3]), _month(match[2]), int(match[1]))
    hour, minute, second, zone = int(match[4]), int(match[5]), int(match[6]), int(match[8])
    if hour > 23 or minute > 59 or second > 60 or zone % 100 > 59:
        raise ValueError("no such time of day")
    offset = (zone // 100 * 60 + zone % 100) * (-60 if match[7] == "-" else 60)
    return days_since_1970(day) * 86400 + hour * 3600 + minute * 60 + second - offset


def format_internal_date(seconds: float) -> str:
    """Write a moment as IMAP's date-time, in UTC."""
    days, rest = divmod(int(seconds // 1), 86400)
    year, month, day = day_after_1970(days)
    name = MONTHS[month - 1].capitalize()
    hour, minute = rest // 3600, rest // 60 % 60
    return f"{day:2d}-{name}-{year:04d} {hour:02d}:{minute:02d}:{rest % 60:02d} +0000"


def parse_date_field(body: str) -> tuple[Day, int] | None:
    """Read a Date field: the day as its writer saw it, and the moment; None where it is no date."""
    match = re.match(_DATE, re.sub(_COMMENT, " ", body[:200]).strip())
    if not match:
        return None
    try:
        day = _day(_year(match[3]), _month(match[2]), int(match[1]))
    except ValueError:
        return None
    hour, minute, second = (int(match[n] or 0) for n in (4, 5, 6))
    seconds = days_since_1970(day) * 86400 + hour * 3600 + minute * 60 + second
    return day, seconds - 60 * _zone_minutes(match[7] or "")


def format_date_field(seconds: float, offset: int = 0) -> str:
    """Write a moment as a Date field does, `offset` minutes east of UTC (RFC 5322 3.3)."""
    days, rest = divmod(int(seconds // 1) + offset * 60, 86400)
    year, month, day = day_after_1970(days)
    weekday = WEEKDAYS[(days + 4) % 7]
    sign, zone = ("-", -offset) if offset < 0 else ("+", offset)
    return (
        f"{weekday}, {day} {MONTHS[month - 1].capitalize()} {year:04d} "
        f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d} "
        f"{sign}{zone // 60:02d}{zone % 60:02d}"
    )


def day_of(seconds: float) -> Day:
    """Give the day of a moment, in UTC."""
    return day_after_1970(int(seconds // 86400))


def days_since_1970(day: Day) -> int:
    """Count the days from 1970-01-01 to a day of the Gregorian calendar."""
    year, month, number = day
    year -= month <= 2  # a year that begins in March ends with its leap day
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + number - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def day_after_1970(days: int) -> Day:
    """Give the day so many days after 1970-01-01."""
    era, of_era = divmod(days + 719468, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * 400 + (month <= 2), month, day


def _day(year: int, month: int, day: int) -> Day:
    longest = 31 - (month in (4, 6, 9, 11))
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        longest = 29 if leap else 28
    if not 1 <= day <= longest:
        raise ValueError("no such day")
    return year, month, day


def _month(name: str) -> int:
    try:
        return MONTHS.index(name[:3].lower()) + 1
    except ValueError:
        raise ValueError(f"no such month: {name}") from None


def _year(text: str) -> int:
    year = int(text)
    if len(text) == 2:  # RFC 5322 4.3
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(text) == 3 else year


def _zone_minutes(zone: str) -> int:
    if zone[:1] in ("+", "-"):
        minutes = int(zone[1:3]) * 60 + int(zone[3:5])
        return -minutes if zone[0] == "-" else minutes
    return _ZONES.get(zone.lower(), 0)
