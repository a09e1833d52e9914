//! The text format of Java's `Properties`.

use std::collections::BTreeMap;

/// Reads properties: comments, continued lines, escapes and each of the separators.
pub(super) fn parse(content: &[u8]) -> BTreeMap<String, String> {
    // The bytes are ISO 8859-1: each is the code point of its character.
    let text: String = content.iter().map(|byte| char::from(*byte)).collect();
    logical_lines(&text)
        .iter()
        .map(|line| split(line))
        .collect()
}

/// The lines, those that end in a backslash joined with the next, without comments.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending: Option<String> = None;
    for line in text.split(['\n', '\r']) {
        let line = line.trim_start_matches([' ', '\t', '\x0c']);
        if pending.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let mut logical = pending.take().unwrap_or_default();
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            logical.push_str(&line[..line.len() - 1]);
            pending = Some(logical);
        } else {
            logical.push_str(line);
            lines.push(logical);
        }
    }
    lines.extend(pending);
    lines
}

/// Key and value of a line, separated by the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (String, String) {
    let mut is_escaped = false;
    let end = line.find(|character: char| {
        let separates = !is_escaped && matches!(character, '=' | ':' | ' ' | '\t' | '\x0c');
        is_escaped = !is_escaped && character == '\\';
        separates
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches([' ', '\t', '\x0c']);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (
        unescape(key),
        unescape(value.trim_start_matches([' ', '\t', '\x0c'])),
    )
}

fn unescape(text: &str) -> String {
    let mut units = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    let mut buffer = [0; 2];
    while let Some(character) = characters.next() {
        if character != '\\' {
            units.extend_from_slice(character.encode_utf16(&mut buffer));
            continue;
        }
        let plain = match characters.next() {
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                units.extend(u16::from_str_radix(&digits, 16).ok());
                continue;
            }
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\x0c',
            Some(other) => other,
            None => break,
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    String::from_utf16_lossy(&units)
}

/// Writes a value as Java does.
pub(super) fn escape_value(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (position, unit) in value.encode_utf16().enumerate() {
        match u8::try_from(unit).map(char::from) {
            Ok(' ') if position == 0 => escaped.push_str("\\ "),
            Ok('\t') => escaped.push_str("\\t"),
            Ok('\n') => escaped.push_str("\\n"),
            Ok('\r') => escaped.push_str("\\r"),
            Ok('\x0c') => escaped.push_str("\\f"),
            Ok(special @ ('\\' | '=' | ':' | '#' | '!')) => {
                escaped.push('\\');
                escaped.push(special);
            }
            Ok(printable @ ' '..='~') => escaped.push(printable),
            _ => escaped.push_str(&format!("\\u{unit:04X}")),
        }
    }
    escaped
}

/// The time as Java's `Date.toString` has it, in UTC.
pub(super) fn date(now_ms: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = now_ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let name = |names: &[&'static str], at: i64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| names.get(at).copied())
            .unwrap_or_default()
    };
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        name(&WEEKDAYS, days.rem_euclid(7)),
        name(&MONTHS, month - 1),
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}

/// Year, month and day of a day counted from 1 January 1970, by the Gregorian calendar. The year
/// is taken to begin in March, so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
