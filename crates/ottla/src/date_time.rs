//! Dates without a library: days since 1970 and back, in UTC.

/// A moment's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DateTime {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) millisecond: i64,
}

const DAY_MS: i64 = 86_400_000;

impl DateTime {
    /// The parts of milliseconds since 1970.
    pub(crate) fn from_epoch_ms(ms: i64) -> Self {
        let (days, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
        // Counted from 1 March of year 0, a year's odd day comes last, in eras of 400 years.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day,
            hour: rest / 3_600_000,
            minute: rest / 60_000 % 60,
            second: rest / 1_000 % 60,
            millisecond: rest % 1_000,
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn epoch_ms(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let shifted_month = (self.month + 9) % 12;
        let day_of_year = (153 * shifted_month + 2) / 5 + self.day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + of_era - 719_468;
        let seconds = (days * 24 + self.hour) * 3_600 + self.minute * 60 + self.second;
        seconds * 1_000 + self.millisecond
    }

    /// Reads `2020-01-31T12:30:45.123`, with or without milliseconds, and a zone like `Z`, `+0100`
    /// or `+01:00`; without a zone it is UTC.
    pub(crate) fn parse(text: &str) -> Option<i64> {
        let (date, time) = text.split_once('T')?;
        let (time, zone_ms) = split_zone(time)?;
        let mut date = date.splitn(3, '-').map(str::parse::<i64>);
        let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let mut time = time.splitn(3, ':').map(str::parse::<i64>);
        let (hour, minute) = (time.next()?.ok()?, time.next()?.ok()?);
        let second = time.next().unwrap_or(Ok(0)).ok()?;
        let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
        let millisecond = fraction.parse().ok()?;
        let valid = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..61).contains(&second);
        let parts = Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            millisecond,
        };
        valid.then(|| parts.epoch_ms() - zone_ms)
    }

    /// Formats by Java's letters `yyyy`, `MM`, `dd`, `HH`, `mm`, `ss` and `SSS`.
    pub(crate) fn format(self, pattern: &str) -> String {
        pattern
            .replace("yyyy", &format!("{:04}", self.year))
            .replace("MM", &format!("{:02}", self.month))
            .replace("dd", &format!("{:02}", self.day))
            .replace("HH", &format!("{:02}", self.hour))
            .replace("mm", &format!("{:02}", self.minute))
            .replace("SSS", &format!("{:03}", self.millisecond))
            .replace("ss", &format!("{:02}", self.second))
    }
}

fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(place) = time.find(['+', '-']) else {
        return Some((time, 0));
    };
    let (time, zone) = time.split_at(place);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits
        .get(2..)
        .filter(|rest| !rest.is_empty())
        .unwrap_or("0")
        .parse()
        .ok()?;
    Some((time, sign * (hours * 60 + minutes) * 60_000))
}

/// Reads `PnDTnHnMnS` as milliseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let text = text.strip_prefix('P')?;
    let (days, time) = text.split_once('T').unwrap_or((text, ""));
    let mut total = 0.0;
    let mut any = false;
    for (part, units) in [
        (days, [('D', 86_400_000.0)].as_slice()),
        (time, &TIME_UNITS),
    ] {
        let mut number = String::new();
        for letter in part.chars() {
            match units.iter().find(|(unit, _)| *unit == letter) {
                Some((_, ms)) => {
                    total += number.parse::<f64>().ok()? * ms;
                    number.clear();
                    any = true;
                }
                None => number.push(letter),
            }
        }
        if !number.is_empty() {
            return None;
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a duration is far below 2^53 ms"
    )]
    let total = total as i64;
    any.then_some(if negative { -total } else { total })
}

const TIME_UNITS: [(char, f64); 3] = [('H', 3_600_000.0), ('M', 60_000.0), ('S', 1_000.0)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_back() {
        for ms in [
            0,
            -1,
            951_782_400_000,
            1_700_000_000_123,
            4_102_444_799_999,
            -62_135_596_800_000,
        ] {
            assert_eq!(DateTime::from_epoch_ms(ms).epoch_ms(), ms);
        }
        let text = DateTime::from_epoch_ms(951_782_461_007).format("yyyy-MM-dd HH:mm:ss:SSS");
        assert_eq!(text, "2000-02-29 00:01:01:007");
    }

    #[test]
    fn dates_are_read() {
        assert_eq!(
            DateTime::parse("2020-01-01T00:00:00.000"),
            Some(1_577_836_800_000)
        );
        assert_eq!(
            DateTime::parse("2020-01-01T01:00:00.5+0100"),
            Some(1_577_836_800_500)
        );
        assert_eq!(
            DateTime::parse("2020-01-01T00:00:00Z"),
            Some(1_577_836_800_000)
        );
        assert_eq!(DateTime::parse("yesterday"), None);
        assert_eq!(DateTime::parse("2020-13-01T00:00:00"), None);
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("PT1H"), Some(3_600_000));
        assert_eq!(parse_duration("P1DT2M1.5S"), Some(86_521_500));
        assert_eq!(parse_duration("P"), None);
        assert_eq!(parse_duration("1H"), None);
    }
}
