//! Which field of a JSON document is at a position: serde's errors have a line and a column, people think in fields.

/// The path of the value at that line and column (from 1), such as `process.rlimits[0].soft`; empty at the top.
///
/// The text before the position is well-formed, because a parser has read it.
pub(super) fn field_at(text: &[u8], line: usize, column: usize) -> String {
    let before_line: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let end = (before_line + column).min(text.len());
    let mut path: Vec<Step> = Vec::new();
    let mut key_next = false;
    let mut index = 0;
    while index < end {
        match text[index] {
            b'{' => {
                path.push(Step::Key(String::new()));
                key_next = true;
            }
            b'[' => {
                path.push(Step::Index(0));
                key_next = false;
            }
            b'}' | b']' => {
                // The error of a whole object is reported at its last byte.
                if index + 1 < end {
                    path.pop();
                }
                key_next = false;
            }
            b',' => match path.last_mut() {
                Some(Step::Index(number)) => *number += 1,
                Some(Step::Key(_)) => key_next = true,
                None => {}
            },
            b'"' => {
                let close = string_end(text, index);
                if let (true, Some(Step::Key(key))) = (key_next, path.last_mut()) {
                    *key = String::from_utf8_lossy(text.get(index + 1..close).unwrap_or_default()).into_owned();
                    key_next = false;
                }
                index = close;
            }
            _ => {}
        }
        index += 1;
    }
    // At the closing brace the object itself is meant, not its last field.
    if end > 0 && matches!(text[end - 1], b'}' | b']') {
        path.pop();
    }
    render(&path)
}

enum Step {
    Key(String),
    Index(usize),
}

/// The index of the closing quote.
fn string_end(text: &[u8], open: usize) -> usize {
    let mut index = open + 1;
    while index < text.len() && text[index] != b'"' {
        index += if text[index] == b'\\' { 2 } else { 1 };
    }
    index
}

fn render(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if key.is_empty() => {}
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(number) => text.push_str(&format!("[{number}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, needle: &str) -> String {
        let end = text.find(needle).unwrap() + needle.len();
        let line = text[..end].matches('\n').count() + 1;
        let column = end - text[..end].rfind('\n').map_or(0, |newline| newline + 1);
        field_at(text.as_bytes(), line, column)
    }

    #[test]
    fn paths() {
        let text = "{\"a\": {\"b\": [1, {\"c\\\"d\": \"x,{\"}, 77]},\n \"e\": 88}";
        assert_eq!(at(text, "77"), "a.b[2]");
        assert_eq!(at(text, "88"), "e");
        assert_eq!(at(text, "\"x,{\""), "a.b[1].c\\\"d");
        assert_eq!(at(text, "x,{\"}"), "a.b[1]");
    }

    #[test]
    fn positions_beyond_the_end_are_harmless() {
        assert_eq!(field_at(b"{\"a\":", 9, 99), "a");
        assert_eq!(field_at(b"", 1, 1), "");
        assert_eq!(field_at(b"{\"a\\", 1, 4), "");
    }
}
