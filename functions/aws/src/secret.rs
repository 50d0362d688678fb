//! The lake's key, from Secrets Manager.

use aws_sdk_secretsmanager::Client;
use lake::key::LakeKey;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager did not give it.
    #[error("read the secret {secret}: {source}")]
    Unavailable {
        /// Name or ARN.
        secret: String,
        /// What Secrets Manager said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is too short.
    #[error(
        "the secret {secret} is no key: want at least {} hex digits, or as many other characters",
        2 * LakeKey::BYTES_MIN
    )]
    NoKey {
        /// Name or ARN.
        secret: String,
    },
}

/// Reads the key.
pub async fn key(client: &Client, secret: &str) -> Result<LakeKey, SecretError> {
    let found = client.get_secret_value().secret_id(secret).send().await;
    let found = found.map_err(|error| SecretError::Unavailable {
        secret: secret.to_owned(),
        source: crate::failure::told(error),
    })?;
    let text = found.secret_string.as_deref();
    let binary = found.secret_binary.as_ref().and_then(|blob| LakeKey::new(blob.as_ref()));
    let key = text.map_or(binary, of_text);
    key.ok_or_else(|| SecretError::NoKey { secret: secret.to_owned() })
}

/// Hex digits stand for bytes, as in the key file of a local lake; any other text for itself.
fn of_text(text: &str) -> Option<LakeKey> {
    let text = text.trim();
    if text.len() < 2 * LakeKey::BYTES_MIN {
        return None;
    }
    hex::decode(text).map_or_else(|_| LakeKey::new(text.as_bytes()), |bytes| LakeKey::new(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits_are_the_bytes_they_stand_for() {
        let digits = "0f".repeat(32);
        let key = of_text(&format!("{digits}\n")).unwrap();
        assert_eq!(key.fingerprint(), LakeKey::new(&[0x0f; 32]).unwrap().fingerprint());
    }

    #[test]
    fn a_key_that_can_be_guessed_is_refused() {
        assert!(of_text("").is_none() && of_text("0f0f").is_none() && of_text("secret").is_none());
        assert!(of_text("a passphrase of more than 32 characters").is_some());
    }
}
