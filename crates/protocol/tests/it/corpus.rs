//! Every input that was kept for a fuzzer is an ordinary test too.

#[expect(unreachable_pub, reason = "it is a library of its own to the fuzzers")]
#[path = "../../../../fuzz/targets.rs"]
mod targets;

fn run(target: &str, body: fn(&[u8])) {
    let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("a corpus for every target") {
        let path = entry.expect("a readable folder").path();
        let input = std::fs::read(&path).expect("a readable input");
        body(&input);
        // Inputs that end early are the commonest of all that a network sends.
        for end in [
            input.len() / 3,
            input.len() * 2 / 3,
            input.len().saturating_sub(1),
        ] {
            body(input.get(..end).unwrap_or_default());
        }
        count += 1;
    }
    assert!(count > 0, "{folder} is empty");
}

#[test]
fn batches() {
    run("batches", targets::batches);
}

#[test]
fn compression() {
    run("compression", targets::compression);
}

#[test]
fn legacy() {
    run("legacy", targets::legacy);
}

#[test]
fn validation() {
    run("validation", targets::validation);
}

#[test]
fn messages() {
    run("messages", targets::messages);
}

#[test]
fn frames() {
    run("frames", targets::frames);
}
