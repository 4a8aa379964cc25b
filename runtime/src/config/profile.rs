//! Where in a configuration's text its seccomp profile is: found without parsing the profile.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What stands for a profile whose filter is known: should anybody take it for the container's, nothing runs under it.
pub(super) const STAND_IN: &[u8] = br#"{"defaultAction":"SCMP_ACT_KILL_PROCESS"}"#;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    linux: Option<Linux<'a>>,
}

#[derive(Deserialize)]
struct Linux<'a> {
    #[serde(borrow)]
    seccomp: Option<&'a RawValue>,
}

/// The place of `linux.seccomp`, without blanks around it.
///
/// `None` where there is no profile, and wherever the text is out of the ordinary, such as a key that is there twice: who
/// parses all of it decides what is meant.
pub(super) fn find(text: &[u8]) -> Option<Range<usize>> {
    // Looked for first: a configuration without a profile is not read twice.
    let text = std::str::from_utf8(text).ok().filter(|text| text.contains("\"seccomp\""))?;
    let profile = serde_json::from_str::<Document<'_>>(text).ok()?.linux?.seccomp?.get();
    let start = profile.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    // serde reads a list as an object whose fields have no names.
    let named = text.get(..start)?.trim_ascii_end().ends_with(':');
    named.then_some(start..start + profile.len())
}

/// The text with the stand-in in the profile's place.
pub(super) fn replace(text: &[u8], profile: &Range<usize>) -> Vec<u8> {
    [&text[..profile.start], STAND_IN, &text[profile.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        find(text.as_bytes()).map(|place| &text[place])
    }

    #[test]
    fn the_profile_and_nothing_else_is_found() {
        let profile = r#"{"defaultAction": "}\"]", "x": [{}, "seccomp"]}"#;
        for around in [
            r#"{"linux":{"seccomp":@}}"#,
            r#"{"a": {"seccomp": 1}, "linux" : { "seccomp" :  @  , "b": [] } , "annotations": {"linux": "{\"seccomp\":"}}"#,
            r#"{"l\u0069nux": {"x": "\"seccomp\"", "secc\u006fmp": @}, "annotations": {"seccomp": "y"}}"#,
        ] {
            assert_eq!(found(&around.replace('@', profile)), Some(profile), "{around}");
        }
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_left_to_the_parser() {
        for text in [
            r#"{"linux":{}}"#,
            r#"{"linux":null,"annotations":{"seccomp":"{}"}}"#,
            r#"{"linux":{"seccomp":null}}"#,
            r#"{"linux":{"secc\u006fmp":{}}}"#,
            r#"{"linux":{"seccomp":{},"seccomp":{}}}"#,
            r#"{"linux":{"seccomp":{}},"linux":{}}"#,
            r#"{"linux":[{"seccomp":{}}]}"#,
            r#"{"linux":{"seccomp":{}}"#,
            r#"{"linux":{"seccomp":{"}}"#,
            r#"{"linux":{"seccomp":{}}} {}"#,
            "[\"seccomp\"]",
            "",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        assert_eq!(find(b"{\"linux\":{\"seccomp\":{}},\"x\":\"\xff\"}"), None);
    }
}
