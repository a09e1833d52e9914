//! The SCRAM credentials of `--add-scram`: `SCRAM-SHA-256=[name=alice,password=alice-secret]`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use ottla_client::core::admin::quotas::ScramMechanism as Mechanism;
use ottla_protocol::messages::UserScramCredentialRecord;
use sha2::{Digest as _, Sha256, Sha512};

pub(crate) const ITERATIONS_MIN: u32 = 4096;
pub(crate) const ITERATIONS_MAX: u32 = 16_384;

/// The password as it is kept: salted and hashed so many times.
pub(crate) fn salted_password(
    mechanism: Mechanism,
    password: &str,
    salt: &[u8],
    iterations: u32,
) -> Vec<u8> {
    let password = password.as_bytes();
    match mechanism {
        Mechanism::Sha256 => {
            pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations).to_vec()
        }
        Mechanism::Sha512 => {
            pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, salt, iterations).to_vec()
        }
    }
}

fn sign(mechanism: Mechanism, key: &[u8], text: &str) -> Vec<u8> {
    const ANY_LENGTH: &str = "HMAC takes keys of any length";
    match mechanism {
        Mechanism::Sha256 => {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_LENGTH);
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        Mechanism::Sha512 => {
            let mut mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY_LENGTH);
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
    }
}

fn digest(mechanism: Mechanism, bytes: &[u8]) -> Vec<u8> {
    match mechanism {
        Mechanism::Sha256 => Sha256::digest(bytes).to_vec(),
        Mechanism::Sha512 => Sha512::digest(bytes).to_vec(),
    }
}

/// The record of a credential; `random_salt` is used if none is given.
pub(super) fn parse(text: &str, random_salt: &[u8]) -> Result<UserScramCredentialRecord, String> {
    let text = text.trim();
    let (mechanism, rest) = text
        .split_once('=')
        .ok_or_else(|| format!("Failed to find equals sign in SCRAM argument '{text}'"))?;
    let mechanism = mechanism.trim();
    let mechanism = Mechanism::from_name(mechanism)
        .ok_or_else(|| format!("The add-scram mechanism {mechanism} is not supported."))?;
    let inner = rest
        .trim()
        .strip_prefix('[')
        .ok_or("Expected configuration string to start with [")?;
    let inner = inner
        .strip_suffix(']')
        .ok_or("Expected configuration string to end with ]")?;
    let mut settings = BTreeMap::new();
    for component in inner.split(',') {
        let (name, value) = component
            .split_once('=')
            .ok_or_else(|| format!("No equals sign found in SCRAM component: {component}"))?;
        settings.insert(name.trim(), value.trim().trim_matches('"'));
    }
    credential(mechanism, settings, random_salt)
}

fn credential(
    mechanism: Mechanism,
    mut settings: BTreeMap<&str, &str>,
    random_salt: &[u8],
) -> Result<UserScramCredentialRecord, String> {
    let name = settings
        .remove("name")
        .ok_or("You must supply 'name' to add-scram")?;
    let given_salt = match settings.remove("salt") {
        Some(text) => Some(
            STANDARD
                .decode(text)
                .map_err(|_| format!("Failed to decode given salt: {text}"))?,
        ),
        None => None,
    };
    let iterations = match settings.remove("iterations") {
        Some(text) => text
            .parse()
            .map_err(|_| format!("Failed to parse iterations count: {text}"))?,
        None => ITERATIONS_MIN,
    };
    check_iterations(mechanism, iterations)?;
    let salt = given_salt.as_deref().unwrap_or(random_salt);
    let salted_password = match (
        settings.remove("password"),
        settings.remove("saltedpassword"),
    ) {
        (Some(password), None) => salted_password(mechanism, password, salt, iterations),
        (None, Some(_)) if given_salt.is_none() => {
            return Err("You must supply 'salt' with 'saltedpassword' to add-scram".to_owned());
        }
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|_| format!("Failed to decode given saltedPassword: {text}"))?,
        _ => {
            return Err(
                "You must supply one of 'password' or 'saltedpassword' to add-scram".to_owned(),
            );
        }
    };
    if !settings.is_empty() {
        let names: Vec<&str> = settings.into_keys().collect();
        return Err(format!(
            "Unknown SCRAM configurations: {}",
            names.join(", ")
        ));
    }
    let stored_key = digest(mechanism, &sign(mechanism, &salted_password, "Client Key"));
    Ok(UserScramCredentialRecord {
        name: name.into(),
        mechanism: mechanism.code(),
        salt: Bytes::copy_from_slice(salt),
        stored_key: stored_key.into(),
        server_key: sign(mechanism, &salted_password, "Server Key").into(),
        iterations: i32::try_from(iterations).unwrap_or(i32::MAX),
        ..UserScramCredentialRecord::default()
    })
}

fn check_iterations(mechanism: Mechanism, iterations: u32) -> Result<(), String> {
    let refused = |relation: &str, bound: u32| {
        Err(format!(
            "The 'iterations' value must be {relation} {bound} for add-scram using {}",
            mechanism.name()
        ))
    };
    match iterations {
        ..ITERATIONS_MIN => refused(">=", ITERATIONS_MIN),
        ITERATIONS_MIN..=ITERATIONS_MAX => Ok(()),
        _ => refused("<=", ITERATIONS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_from_the_password() {
        // The example of RFC 7677.
        let text = "SCRAM-SHA-256=[name=user,password=pencil,salt=\"W22ZaJ0SNY7soEsUEjb6gQ==\",iterations=4096]";
        let record = parse(text, &[]).unwrap();
        assert_eq!(
            STANDARD.encode(&record.server_key),
            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert_eq!(
            STANDARD.encode(&record.stored_key),
            "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        );
        assert_eq!(
            (record.mechanism, record.iterations, &*record.name),
            (1, 4096, "user")
        );
    }

    #[test]
    fn refusals_have_kafkas_words() {
        let refused = |text: &str| parse(text, b"salt").unwrap_err();
        assert_eq!(
            refused("SCRAM-SHA-256=[name=alice]"),
            "You must supply one of 'password' or 'saltedpassword' to add-scram"
        );
        assert_eq!(
            refused("SCRAM-SHA-1=[name=a,password=b]"),
            "The add-scram mechanism SCRAM-SHA-1 is not supported."
        );
        assert_eq!(
            refused("SCRAM-SHA-512=[name=a,password=b,iterations=5]"),
            "The 'iterations' value must be >= 4096 for add-scram using SCRAM-SHA-512"
        );
    }
}
