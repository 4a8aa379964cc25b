//! `org.systemd.property.NAME` annotations: properties of the scope in the words of config.json's author.

use super::message::{Property, Value};

/// What stands before a property's name.
pub const PREFIX: &str = "org.systemd.property.";

/// Where the container runs and who is in it is the runtime's to say, and not for an annotation to change.
const RESERVED: [&str; 8] =
    ["PIDs", "PIDFDs", "Slice", "Delegate", "DefaultDependencies", "Description", "Scope", "Controller"];

/// The property that an annotation asks for, as runc understands them: values in GVariant's text format.
pub fn parse(name: &str, value: &str) -> Result<Property, String> {
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err("not a name of a systemd property: Latin letters only, at least three".to_owned());
    }
    if RESERVED.contains(&name) {
        return Err("the runtime sets this property itself".to_owned());
    }
    let Some(value) = parse_value(value.trim()) else {
        return Err(format!(
            "\"{}\": must be a 'text', true, false, a number (also uint32 5, int64 5, uint64 5) or a list of texts",
            value.escape_debug()
        ));
    };
    // systemd's own names have USec where its files have Sec.
    match name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase())) {
        Some(stem) => match seconds(&value) {
            Some(seconds) => Ok((format!("{stem}USec"), Value::UnsignedLong(seconds.saturating_mul(1_000_000)))),
            None => Err("must be a number of seconds".to_owned()),
        },
        None => Ok((name.to_owned(), value)),
    }
}

fn parse_value(text: &str) -> Option<Value> {
    if let Some(list) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return list.split(',').map(|item| quoted(item.trim())).collect::<Option<Vec<String>>>().map(Value::Texts);
    }
    if let Some(text) = quoted(text) {
        return Some(Value::Text(text));
    }
    match text.split_once(' ') {
        Some(("uint32", number)) => number.trim().parse().ok().map(Value::Unsigned),
        Some(("uint64", number)) => number.trim().parse().ok().map(Value::UnsignedLong),
        Some(("int32", number)) => number.trim().parse().ok().map(Value::Int),
        Some(("int64", number)) => number.trim().parse().ok().map(Value::Long),
        Some(_) => None,
        None => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            number => number.parse().ok().map(Value::Int),
        },
    }
}

/// `'text'` or `"text"`, without escapes: property values have no need of them.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let plain = !inner.contains(|c: char| c == quote || c == '\\' || c.is_control());
    plain.then(|| inner.to_owned())
}

fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Long(number) => u64::try_from(*number).ok(),
        Value::Unsigned(number) => Some((*number).into()),
        Value::UnsignedLong(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let value = |text: &str| parse("Foo", text).map(|(_, value)| value);
        assert_eq!(value("'inactive-or-failed'"), Ok(Value::Text("inactive-or-failed".into())));
        assert_eq!(value("true"), Ok(Value::Bool(true)));
        assert_eq!(value("-5"), Ok(Value::Int(-5)));
        assert_eq!(value("uint64 90000000"), Ok(Value::UnsignedLong(90_000_000)));
        assert_eq!(value("['a.service', 'b.service']"), Ok(Value::Texts(vec!["a.service".into(), "b.service".into()])));
        for wrong in ["", "x", "'x", "'a'b'", "[1]", "uint32 -1", "uint9 1", "'a\\'b'", "@as []", "5000000000"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(parse("TimeoutStopSec", "uint64 2"), Ok(("TimeoutStopUSec".into(), Value::UnsignedLong(2_000_000))));
        assert!(parse("TimeoutStopSec", "'x'").is_err());
        for wrong in ["", "Ab", "Foo-Bar", "Foo.Bar", "PIDs", "Slice", "Delegate", "Bär"] {
            assert!(parse(wrong, "true").is_err(), "{wrong}");
        }
    }
}
