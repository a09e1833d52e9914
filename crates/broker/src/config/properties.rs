//! Java's `.properties` format, read as `java.util.Properties` reads it from a file: bytes are Latin-1.

use std::collections::BTreeMap;

/// A `\u` escape that lacks four hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: \\u must be followed by four hexadecimal digits")]
pub struct MalformedEscape {
    /// The line on which the setting starts, from 1.
    pub line: usize,
}

/// The settings of a properties file; of a name that stands twice, the last counts.
pub fn parse_properties(bytes: &[u8]) -> Result<BTreeMap<String, String>, MalformedEscape> {
    let mut settings = BTreeMap::new();
    for (line, text) in logical_lines(bytes) {
        let (name, value) = split_setting(&text);
        let unescape = |raw: &[char]| unescape(raw).ok_or(MalformedEscape { line });
        settings.insert(unescape(name)?, unescape(value)?);
    }
    Ok(settings)
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{c}')
}

/// Lines without comments, with continuations joined, each with the number on which it starts.
fn logical_lines(bytes: &[u8]) -> Vec<(usize, Vec<char>)> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = Vec::new();
    let mut open: Option<(usize, Vec<char>)> = None;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_start_matches(is_blank);
        let (start, mut joined) = match open.take() {
            Some(started) => started,
            None if line.is_empty() || line.starts_with(['#', '!']) => continue,
            None => (index + 1, Vec::new()),
        };
        joined.extend(line.chars());
        let backslashes = joined
            .iter()
            .rev()
            .take_while(|character| **character == '\\')
            .count();
        if backslashes % 2 == 1 {
            joined.pop();
            open = Some((start, joined));
        } else {
            lines.push((start, joined));
        }
    }
    lines.extend(open);
    lines
}

/// The name ends at the first unescaped `=`, `:` or blank; blanks around one separator belong to neither side.
fn split_setting(line: &[char]) -> (&[char], &[char]) {
    let mut end = 0;
    while end < line.len() && !is_blank(line[end]) && !matches!(line[end], '=' | ':') {
        end += if line[end] == '\\' { 2 } else { 1 };
    }
    let end = end.min(line.len());
    let blanks = |from: usize| {
        from + line[from..]
            .iter()
            .take_while(|character| is_blank(**character))
            .count()
    };
    let mut start = blanks(end);
    if matches!(line.get(start), Some('=' | ':')) {
        start = blanks(start + 1);
    }
    (&line[..end], &line[start..])
}

fn unescape(raw: &[char]) -> Option<String> {
    let mut units = Vec::with_capacity(raw.len());
    let mut characters = raw.iter();
    while let Some(character) = characters.next() {
        // Every character is one of Latin-1, so it is one UTF-16 unit; only escapes make surrogates.
        let unit = match character {
            '\\' => match characters.next() {
                Some('u') => {
                    let digits: String = characters.by_ref().take(4).collect();
                    let valid =
                        digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    if !valid {
                        return None;
                    }
                    u16::from_str_radix(&digits, 16).ok()?
                }
                Some('t') => u16::from(b'\t'),
                Some('n') => u16::from(b'\n'),
                Some('r') => u16::from(b'\r'),
                Some('f') => 0xc,
                Some(other) => u16::try_from(u32::from(*other)).ok()?,
                None => continue,
            },
            plain => u16::try_from(u32::from(*plain)).ok()?,
        };
        units.push(unit);
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_as_java_reads_it() {
        let settings = parse_properties(include_bytes!("testdata/tricky.properties")).unwrap();
        let shown: String = settings
            .iter()
            .map(|(name, value)| format!("{} {}\n", quote(name), quote(value)))
            .collect();
        assert_eq!(shown, include_str!("testdata/tricky.expected"));
    }

    fn quote(text: &str) -> String {
        let inner: String = text
            .chars()
            .map(|c| match c {
                '"' | '\\' => format!("\\{c}"),
                ' '..='~' => c.to_string(),
                _ => format!("\\u{{{:x}}}", u32::from(c)),
            })
            .collect();
        format!("\"{inner}\"")
    }

    #[test]
    fn a_broken_escape_is_named_by_its_line() {
        assert_eq!(
            parse_properties(b"a=1\nb=\\u12x4\n").unwrap_err(),
            MalformedEscape { line: 2 }
        );
        assert_eq!(
            parse_properties(b"a=1\n\nb=\\u12").unwrap_err(),
            MalformedEscape { line: 3 }
        );
    }
}
