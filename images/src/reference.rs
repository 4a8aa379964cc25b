//! Image names: `[DOMAIN/]PATH[:TAG]` (distribution-spec, "Pulling manifests"; Docker's short forms).

use std::fmt;

use crate::error::{Error, Result};

/// A full image name. `hello` is short for `docker.io/library/hello:latest`, and is printed short.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Reference {
    domain: String,
    path: String,
    tag: String,
}

impl Reference {
    /// Reads a name as a person types it.
    ///
    /// # Errors
    /// The name does not have the form, or has a digest.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::invalid(format!("image name {text:?}"), why);
        if text.is_empty() || text.len() > 383 {
            return Err(bad("must have 1 to 383 characters"));
        }
        if text.contains('@') {
            return Err(bad("names with a digest are not supported; use NAME:TAG or an image id"));
        }
        let (domain, rest) = match text.split_once('/') {
            Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (first, rest),
            _ => ("docker.io", text),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, tag),
            None => (rest, "latest"),
        };
        let path =
            if domain == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_string() };
        if !path.split('/').all(is_component) {
            return Err(bad("the parts between slashes must be lower-case letters and digits, separated by . _ or -"));
        }
        let first = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        if tag.len() > 128
            || !tag.bytes().next().is_some_and(first)
            || !tag.bytes().all(|c| first(c) || c == b'.' || c == b'-')
        {
            return Err(bad("the tag must be letters, digits, . _ and -"));
        }
        let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let host = edge(domain.bytes().next()) && edge(domain.bytes().last());
        if !host || !domain.bytes().all(|c| c.is_ascii_alphanumeric() || b".:-".contains(&c)) {
            return Err(bad("the part before the first slash is not a host name"));
        }
        Ok(Self { domain: domain.to_string(), path, tag: tag.to_string() })
    }

    /// `DOMAIN/PATH:TAG`, nothing left out; what is kept on disk.
    pub fn full(&self) -> String {
        format!("{}/{}:{}", self.domain, self.path, self.tag)
    }

    /// The name without its tag, as short as it can be typed.
    pub fn repository(&self) -> String {
        match (self.domain.as_str(), self.path.strip_prefix("library/")) {
            ("docker.io", Some(name)) => name.to_string(),
            ("docker.io", None) => self.path.clone(),
            (domain, _) => format!("{domain}/{}", self.path),
        }
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository(), self.tag)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    edge(part.bytes().next())
        && edge(part.bytes().last())
        && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c))
        && !["..", "._", "_.", ".-", "-.", "-_", "_-", "___"].iter().any(|pair| part.contains(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_full_names_are_the_same_image() {
        for (text, full, short) in [
            ("hello", "docker.io/library/hello:latest", "hello:latest"),
            ("me/app:v1.2", "docker.io/me/app:v1.2", "me/app:v1.2"),
            ("docker.io/library/hello", "docker.io/library/hello:latest", "hello:latest"),
            ("localhost/bb", "localhost/bb:latest", "localhost/bb:latest"),
            ("127.0.0.1:5000/a/b__c:x", "127.0.0.1:5000/a/b__c:x", "127.0.0.1:5000/a/b__c:x"),
        ] {
            let name = Reference::parse(text).unwrap();
            assert_eq!((name.full().as_str(), name.to_string().as_str()), (full, short));
            assert_eq!(Reference::parse(&name.full()).unwrap(), name);
        }
        for bad in [
            "",
            "A",
            "a//b",
            "../a",
            "a/../b",
            "a:",
            "a:-x",
            "a b",
            "a\n",
            "-a",
            "a@sha256:00",
            "a/b:c:d",
            "a.",
            &"a".repeat(400),
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
    }
}
