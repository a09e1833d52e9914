//! Regular expressions over topic names, as RE2J reads them.

use regex::{Regex, RegexBuilder};

/// What a compiled expression may take, lest a client has the coordinator fill its memory.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// An expression that the whole of a topic's name may match.
#[derive(Clone, Debug)]
pub(super) struct TopicExpression(Regex);

impl TopicExpression {
    /// Reads the expression; else says what is wrong with it, as RE2J does.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(COMPILED_BYTES_MAX)
                .build()
                .map_err(|error| describe(&error))
        };
        // By itself first: what closes more groups than it opens is no expression.
        compile(text)?;
        compile(&format!("^(?:{text})$")).map(Self)
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

fn describe(error: &regex::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit("error: ").next().unwrap_or(&text).trim();
    let known = [
        ("unclosed character class", "missing closing ]"),
        ("unclosed group", "missing closing )"),
        ("unopened group", "regexp/syntax: internal error"),
        (
            "repetition operator missing expression",
            "missing argument to repetition operator",
        ),
        (
            "incomplete escape sequence",
            "trailing backslash at end of expression",
        ),
        (
            "invalid character class range",
            "invalid character class range",
        ),
        ("invalid repetition count range", "invalid repeat count"),
        ("unrecognized escape sequence", "invalid escape sequence"),
        ("backreferences", "invalid escape sequence"),
        ("Unicode property", "invalid character class range"),
        ("unrecognized flag", "invalid or unsupported Perl syntax"),
        ("expected flag", "invalid or unsupported Perl syntax"),
        ("look-around", "invalid or unsupported Perl syntax"),
        (
            "duplicate capture group name",
            "duplicate capture group name",
        ),
        ("unclosed capture group name", "invalid named capture"),
    ];
    known
        .iter()
        .find(|(ours, _)| text.starts_with(ours))
        .map_or_else(|| text.to_owned(), |(_, theirs)| (*theirs).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_has_to_match() {
        let expression = TopicExpression::parse("a|ab.*").unwrap();
        assert!(expression.matches("a"));
        assert!(expression.matches("abc"));
        assert!(!expression.matches("ba"));
        assert!(!expression.matches("ac"));
    }

    #[test]
    fn what_is_no_expression_is_told_in_re2js_words() {
        let wrong = |text| TopicExpression::parse(text).unwrap_err();
        assert_eq!(wrong("["), "missing closing ]");
        assert_eq!(wrong("(a"), "missing closing )");
        assert_eq!(wrong("a)(b"), "regexp/syntax: internal error");
        assert_eq!(wrong("*"), "missing argument to repetition operator");
        assert_eq!(wrong("\\"), "trailing backslash at end of expression");
        assert_eq!(wrong("[b-a]"), "invalid character class range");
        assert_eq!(wrong("a{2,1}"), "invalid repeat count");
        assert_eq!(wrong("\\y"), "invalid escape sequence");
        assert_eq!(wrong("\\1"), "invalid escape sequence");
        assert_eq!(wrong("(?z)"), "invalid or unsupported Perl syntax");
        assert_eq!(wrong("(?=a)"), "invalid or unsupported Perl syntax");
        assert_eq!(wrong("(?P<n"), "invalid named capture");
        assert_eq!(wrong("(?P<n>a)(?P<n>b)"), "duplicate capture group name");
    }
}
