//! D-Bus messages as bytes: the few types that systemd's manager is called with and answers.
//!
//! D-Bus Specification 0.43, "Message Protocol". Written by hand because the crates for it bring threads (zbus: 86 more
//! packages, 1.4 MB, an executor's thread) or other versions of what is here already, for five method calls.

use serde::{Deserialize, Serialize};

/// The value of a unit's property.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Value {
    /// `s`
    Text(String),
    /// `b`
    Bool(bool),
    /// `i`
    Int(i32),
    /// `x`
    Long(i64),
    /// `u`
    Unsigned(u32),
    /// `t`
    UnsignedLong(u64),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    UnsignedList(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(st)`
    TextsWithNumbers(Vec<(String, u64)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Text(_) => "s",
            Value::Bool(_) => "b",
            Value::Int(_) => "i",
            Value::Long(_) => "x",
            Value::Unsigned(_) => "u",
            Value::UnsignedLong(_) => "t",
            Value::Texts(_) => "as",
            Value::UnsignedList(_) => "au",
            Value::Bytes(_) => "ay",
            Value::TextsWithNumbers(_) => "a(st)",
        }
    }
}

/// A property's name and value.
pub type Property = (String, Value);

/// A message's body while it is written, in the byte order of this machine.
#[derive(Default)]
pub struct Body {
    bytes: Vec<u8>,
    signature: String,
}

impl Body {
    /// Adds a string.
    pub fn text(mut self, text: &str) -> Body {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    /// Adds a truth value.
    pub fn bool(mut self, value: bool) -> Body {
        self.signature.push('b');
        put_u32(&mut self.bytes, value.into());
        self
    }

    /// Adds a list of numbers: `au`.
    pub fn numbers(mut self, numbers: &[u32]) -> Body {
        self.signature.push_str("au");
        put_array(&mut self.bytes, 4, numbers, |bytes, number| put_u32(bytes, *number));
        self
    }

    /// Adds properties: `a(sv)`.
    pub fn properties(mut self, properties: &[Property]) -> Body {
        self.signature.push_str("a(sv)");
        put_array(&mut self.bytes, 8, properties, |bytes, (name, value)| {
            align(bytes, 8);
            put_text(bytes, name);
            put_signature(bytes, value.signature());
            put_value(bytes, value);
        });
        self
    }

    /// Adds an empty list of further units: `a(sa(sv))`.
    pub fn no_units(mut self) -> Body {
        self.signature.push_str("a(sa(sv))");
        put_array(&mut self.bytes, 8, &[] as &[()], |_, _| {});
        self
    }
}

/// A method call to `destination`'s object `path`.
pub fn call(serial: u32, destination: &str, path: &str, interface: &str, member: &str, body: Body) -> Vec<u8> {
    let order = if cfg!(target_endian = "little") { b'l' } else { b'B' };
    let mut message = vec![order, 1, 0, 1];
    put_u32(&mut message, body.bytes.len() as u32);
    put_u32(&mut message, serial);
    let fields =
        [(1, "o", path), (6, "s", destination), (2, "s", interface), (3, "s", member), (8, "g", &body.signature)];
    let fields: Vec<_> = fields.into_iter().filter(|(code, _, value)| *code != 8 || !value.is_empty()).collect();
    put_array(&mut message, 8, &fields, |bytes, (code, signature, value)| {
        align(bytes, 8);
        bytes.push(*code);
        put_signature(bytes, signature);
        match *signature {
            "g" => put_signature(bytes, value),
            _ => put_text(bytes, value),
        }
    });
    align(&mut message, 8);
    message.extend(body.bytes);
    message
}

fn align(bytes: &mut Vec<u8>, boundary: usize) {
    bytes.resize(bytes.len().next_multiple_of(boundary), 0);
}

fn put_u32(bytes: &mut Vec<u8>, number: u32) {
    align(bytes, 4);
    bytes.extend(number.to_ne_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_u32(bytes, text.len() as u32);
    bytes.extend(text.bytes());
    bytes.push(0);
}

fn put_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(signature.len() as u8);
    bytes.extend(signature.bytes());
    bytes.push(0);
}

/// The length of an array counts neither itself nor the gap before the first element.
fn put_array<T>(bytes: &mut Vec<u8>, boundary: usize, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_u32(bytes, 0);
    let length_at = bytes.len() - 4;
    align(bytes, boundary);
    let start = bytes.len();
    items.iter().for_each(|item| put(bytes, item));
    let length = (bytes.len() - start) as u32;
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &Value) {
    let put_u64 = |bytes: &mut Vec<u8>, number: u64| {
        align(bytes, 8);
        bytes.extend(number.to_ne_bytes());
    };
    match value {
        Value::Text(text) => put_text(bytes, text),
        Value::Bool(value) => put_u32(bytes, (*value).into()),
        Value::Int(number) => put_u32(bytes, *number as u32),
        Value::Long(number) => put_u64(bytes, *number as u64),
        Value::Unsigned(number) => put_u32(bytes, *number),
        Value::UnsignedLong(number) => put_u64(bytes, *number),
        Value::Texts(texts) => put_array(bytes, 4, texts, |bytes, text| put_text(bytes, text)),
        Value::UnsignedList(numbers) => put_array(bytes, 4, numbers, |bytes, number| put_u32(bytes, *number)),
        Value::Bytes(list) => put_array(bytes, 1, list, |bytes, byte| bytes.push(*byte)),
        Value::TextsWithNumbers(pairs) => put_array(bytes, 8, pairs, |bytes, (text, number)| {
            align(bytes, 8);
            put_text(bytes, text);
            put_u64(bytes, *number);
        }),
    }
}

/// What an incoming message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Incoming {
    /// The answer to the call of this serial.
    Return(u32),
    /// The refusal of the call of this serial.
    Error(u32),
    /// A signal.
    Signal,
    /// A call to us, or something newer.
    Other,
}

/// An incoming message, with what matters here.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it is.
    pub kind: Incoming,
    /// The signal's or the error's name.
    pub name: String,
    /// Its body's leading strings, object paths and 32-bit numbers (these in decimal).
    pub arguments: Vec<String>,
}

/// How long the whole message is that starts with these 16 bytes; `None` when they are no such message.
pub fn length(start: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(start)?;
    reader.at = 4;
    let body = reader.u32()? as usize;
    reader.at = 12;
    let fields = reader.u32()? as usize;
    Some(16 + fields.next_multiple_of(8) + body)
}

/// Reads a whole message; `None` when it is malformed.
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(bytes)?;
    reader.at = 12;
    let fields_end = 16 + reader.u32()? as usize;
    let (mut name, mut answers, mut signature) = (String::new(), 0, String::new());
    while reader.at < fields_end {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        match (code, kind.as_str()) {
            (3 | 4, "s") => name = reader.text()?,
            (5, "u") => answers = reader.u32()?,
            (8, "g") => signature = reader.signature()?,
            (_, "s" | "o") => drop(reader.text()?),
            (_, "u") => drop(reader.u32()?),
            (_, "g") => drop(reader.signature()?),
            _ => return None,
        }
    }
    reader.align(8);
    let kind = match bytes[1] {
        2 => Incoming::Return(answers),
        3 => Incoming::Error(answers),
        4 => Incoming::Signal,
        _ => Incoming::Other,
    };
    let mut arguments = Vec::new();
    for letter in signature.chars() {
        match letter {
            's' | 'o' => arguments.push(reader.text()?),
            'u' => arguments.push(reader.u32()?.to_string()),
            _ => break,
        }
    }
    Some(Message { kind, name, arguments })
}

/// Reads with bounds, in the sender's byte order.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Reader<'a>> {
        let little = match bytes.first()? {
            b'l' => true,
            b'B' => false,
            _ => return None,
        };
        (bytes.len() >= 16).then_some(Reader { bytes, at: 0, little })
    }

    fn align(&mut self, boundary: usize) {
        self.at = self.at.next_multiple_of(boundary);
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let bytes: [u8; 4] = self.bytes.get(self.at..self.at + 4)?.try_into().ok()?;
        self.at += 4;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        self.bytes_with_nul(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.byte()?.into();
        self.bytes_with_nul(length)
    }

    fn bytes_with_nul(&mut self, length: usize) -> Option<String> {
        let end = self.at.checked_add(length)?;
        let text = self.bytes.get(self.at..end)?;
        self.at = end + 1;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let body = Body::default().text("box.scope").text("replace");
        let bytes = call(7, "org.freedesktop.systemd1", "/o", "i.f", "StopUnit", body);
        assert_eq!(length(&bytes[..16]), Some(bytes.len()));
        let message = parse(&bytes).unwrap();
        assert_eq!((message.name.as_str(), message.kind), ("StopUnit", Incoming::Other));
        assert_eq!(message.arguments, ["box.scope", "replace"]);
    }

    #[test]
    fn properties_are_aligned_as_the_specification_says() {
        let properties = [("A".to_owned(), Value::UnsignedLong(5)), ("B".to_owned(), Value::Bool(true))];
        let body = Body::default().properties(&properties);
        let mut expected: Vec<u8> = Vec::new();
        expected.extend(44u32.to_ne_bytes()); // length of the array
        expected.extend([0; 4]); // gap before the first struct
        expected.extend([1u32.to_ne_bytes().as_slice(), b"A\0", b"\x01t\0"].concat());
        expected.extend([0; 7]); // 9 + 8 = 17 bytes so far: the number starts at 24
        expected.extend(5u64.to_ne_bytes());
        expected.extend([1u32.to_ne_bytes().as_slice(), b"B\0", b"\x01b\0"].concat());
        expected.extend([0; 3]);
        expected.extend(1u32.to_ne_bytes());
        let length = (expected.len() - 8) as u32;
        expected[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!((body.bytes, body.signature.as_str()), (expected, "a(sv)"));
    }

    #[test]
    fn garbage_is_refused() {
        assert!(parse(b"").is_none() && parse(&[0; 64]).is_none() && length(b"l").is_none());
        let mut bytes = call(1, "d", "/p", "i", "m", Body::default().text("x"));
        assert!(parse(&bytes).is_some());
        bytes[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(parse(&bytes).is_none());
        let whole = call(1, "d", "/p", "i", "m", Body::default().text("x"));
        for end in 16..whole.len() - 1 {
            let _ = parse(&whole[..end]); // no panic
        }
    }
}
