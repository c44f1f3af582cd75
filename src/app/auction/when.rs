//! Moments as people write them: UTC, or so long from now. Follows auction.17.

/// When an auction is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ends {
    /// Milliseconds of Unix time.
    At(u64),
    /// Milliseconds from now.
    In(u64),
}

const SECOND: u64 = 1000;
const DAY: u64 = 86_400 * SECOND;

/// auction.17: `2026-12-24T18:00Z`, with seconds or without, or `90s`, `10m`, `2h`, `3d`.
pub fn parse(text: &str) -> Option<Ends> {
    let units = [('s', SECOND), ('m', 60 * SECOND), ('h', 3600 * SECOND), ('d', DAY)];
    for (unit, millis) in units {
        if let Some(count) = text.strip_suffix(unit) {
            let count = digits(count, 1..=9)?;
            return Some(Ends::In(count.checked_mul(millis)?)).filter(|_| count > 0);
        }
    }
    moment(text).map(Ends::At)
}

/// A moment in UTC, in milliseconds of Unix time.
fn moment(text: &str) -> Option<u64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-');
    let year = digits(date.next()?, 4..=4).filter(|year| *year >= 1970)?;
    let month = digits(date.next()?, 2..=2).filter(|month| (1..=12).contains(month))?;
    let day = digits(date.next()?, 2..=2).filter(|day| (1..=days_in(year, month)).contains(day))?;
    let mut clock = clock.split(':');
    let hour = digits(clock.next()?, 2..=2).filter(|hour| *hour < 24)?;
    let minute = digits(clock.next()?, 2..=2).filter(|minute| *minute < 60)?;
    let second = clock.next().map_or(Some(0), |text| digits(text, 2..=2).filter(|second| *second < 60))?;
    if date.next().is_some() || clock.next().is_some() {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|month| days_in(year, month)).sum();
    let days = years + months + day - 1;
    Some(days * DAY + ((hour * 60 + minute) * 60 + second) * SECOND)
}

/// Milliseconds of Unix time as UTC, to the second; a year after 9999 as the number of milliseconds.
pub fn shown(millis: u64) -> String {
    let (mut days, clock) = (millis / DAY, millis % DAY / SECOND);
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        if year == 9999 {
            return millis.to_string();
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    while days >= days_in(year, month) {
        days -= days_in(year, month);
        month += 1;
    }
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

fn digits(text: &str, lengths: core::ops::RangeInclusive<usize>) -> Option<u64> {
    let sound = lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if sound { text.parse().ok() } else { None }
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // proves auction.17
    #[test]
    fn moments_are_utc_or_spans() {
        for (text, ends) in [
            ("90s", Ends::In(90_000)),
            ("10m", Ends::In(600_000)),
            ("2h", Ends::In(7_200_000)),
            ("3d", Ends::In(259_200_000)),
            ("1970-01-01T00:00Z", Ends::At(0)),
            ("2023-11-14T22:13:20Z", Ends::At(1_700_000_000_000)),
            ("2024-02-29T00:00:00Z", Ends::At(1_709_164_800_000)),
        ] {
            assert_eq!(parse(text), Some(ends), "{text}");
        }
        for text in [
            "",
            "s",
            "0s",
            "-1s",
            "+1s",
            "1.5h",
            "9999999999s",
            "10",
            "10 m",
            "2023-02-29T00:00Z",
            "2023-13-01T00:00Z",
            "2023-1-1T00:00Z",
            "2023-11-14T24:00Z",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20:20Z",
            "1969-12-31T00:00Z",
            "2023-11-14-01T00:00Z",
            "tomorrow",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for millis in [0, 951_782_400_000, 1_700_000_000_000, 4_107_542_399_000, 253_402_300_799_000] {
            assert_eq!(parse(&shown(millis)), Some(Ends::At(millis)), "{}", shown(millis));
        }
        assert_eq!(shown(253_402_300_800_000), "253402300800000", "the year 10000");
        assert_eq!(shown(u64::MAX), u64::MAX.to_string());
    }
}
