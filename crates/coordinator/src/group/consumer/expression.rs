//! Regular expressions over topic names, as RE2J reads them.

use regex::bytes::{Regex, RegexBuilder};

use super::re2::{Complaint, translate};

/// What a compiled expression may take, lest a client has the coordinator fill its memory.
const COMPILED_BYTES_MAX: usize = 1 << 22;

/// What is said of an expression that would take more.
const TOO_LARGE: Complaint = "invalid repeat count";

/// An expression that the whole of a topic's name may match.
#[derive(Clone, Debug)]
pub(super) struct TopicExpression(Regex);

impl TopicExpression {
    /// Reads the expression; else says what is wrong with it, as RE2J does.
    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let translated = translate(text)?;
        RegexBuilder::new(&format!(r"\A(?:{translated})\z"))
            .unicode(false)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map(Self)
            .map_err(|_| TOO_LARGE)
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `conformance/java/src/main/java/ottla/conformance/ExpressionVectors.java`.
    const GOLDEN: &str = include_str!("../../../testdata/kafka-4.3.1/expressions.txt");

    #[test]
    fn the_whole_name_has_to_match() {
        let expression = TopicExpression::parse("a|ab.*").unwrap();
        assert!(expression.matches("a"));
        assert!(expression.matches("abc"));
        assert!(!expression.matches("ba"));
        assert!(!expression.matches("ac"));
    }

    #[test]
    fn re2j_says_the_same_of_every_expression() {
        let mut lines = GOLDEN.lines();
        let names: Vec<&str> = lines.next().unwrap().split(' ').collect();
        let mut differences = Vec::new();
        for line in lines {
            let (text, theirs) = line.split_once('\t').unwrap();
            let ours = match TopicExpression::parse(text) {
                Ok(expression) => names
                    .iter()
                    .map(|name| if expression.matches(name) { '1' } else { '0' })
                    .collect(),
                Err(complaint) => complaint.to_owned(),
            };
            if ours != theirs {
                differences.push(format!("{text}: {theirs}, here {ours}"));
            }
        }
        assert!(differences.is_empty(), "{differences:#?}");
    }

    #[test]
    fn an_expression_that_would_fill_the_memory_is_refused() {
        let nested = "((((a{1000}){1000}){1000}){1000}){1000}";
        assert_eq!(TopicExpression::parse(nested).unwrap_err(), TOO_LARGE);
        let deep = "(".repeat(10_000) + &")".repeat(10_000);
        assert!(TopicExpression::parse(&deep).is_err());
    }
}
