//! `--name value` pairs.

use std::collections::BTreeMap;
use std::str::FromStr;

pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut pairs = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word
                .strip_prefix("--")
                .ok_or_else(|| format!("{word} is no option"))?;
            let value = words
                .next()
                .ok_or_else(|| format!("--{name} has no value"))?;
            pairs.insert(name.to_owned(), value);
        }
        Ok(Arguments(pairs))
    }

    pub fn get<T: FromStr>(&self, name: &str) -> Result<T, String> {
        let value = self
            .0
            .get(name)
            .ok_or_else(|| format!("--{name} is missing"))?;
        value
            .parse()
            .map_err(|_| format!("--{name} cannot be {value}"))
    }
}
