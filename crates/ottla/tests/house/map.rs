//! ARCHITECTURE.md names only what is there.

use crate::root;

#[test]
fn every_path_in_the_map_exists() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut checked = 0;
    for path in quoted_paths(&text) {
        assert!(
            root().join(path).exists(),
            "ARCHITECTURE.md names `{path}`, which is not there: mend the map"
        );
        checked += 1;
    }
    assert!(
        checked >= 30,
        "the map names {checked} paths: it no longer shows the house"
    );
}

/// What stands between back quotes and looks like a path of this repository.
fn quoted_paths(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|quoted| {
        ["crates/", "conformance/", "docs/", "fuzz/", ".ci/"]
            .iter()
            .any(|start| quoted.starts_with(start))
            && !quoted.contains(|c: char| c.is_whitespace() || "<>{}*".contains(c))
    })
}
