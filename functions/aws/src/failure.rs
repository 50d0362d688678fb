//! What an AWS client says of a failure, in one line.

use std::error::Error;
use std::fmt;

/// A failure with everything that led to it: the clients' own message names the outermost only
/// ("service error").
#[derive(Debug)]
struct Told(Box<dyn Error + Send + Sync>);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        let mut next: Option<&dyn Error> = Some(self.0.as_ref());
        while let Some(error) = next {
            let message = error.to_string();
            if !said.contains(&message) {
                said = if said.is_empty() { message } else { format!("{said}: {message}") };
            }
            next = error.source();
        }
        f.write_str(&said)
    }
}

impl Error for Told {}

/// Wraps a client's error so that its message says all there is to say.
pub(crate) fn told(error: impl Error + Send + Sync + 'static) -> Box<dyn Error + Send + Sync> {
    Box::new(Told(Box::new(error)))
}
