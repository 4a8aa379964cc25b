//! As much of protocol buffers' wire format as CRIU's messages need: varints and length-delimited fields.

/// A message being written: fields in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A number, an enumeration's value or a truth value. Negative ones as 64 bits, as the format has them.
    pub fn number(&mut self, field: u32, value: i64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
        self
    }

    /// A truth value.
    pub fn truth(&mut self, field: u32, value: bool) -> &mut Self {
        self.number(field, i64::from(value))
    }

    /// A string, or whatever bytes.
    pub fn bytes(&mut self, field: u32, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message in the message.
    pub fn message(&mut self, field: u32, value: &Message) -> &mut Self {
        self.bytes(field, &value.0)
    }

    /// As it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field that was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Every field of a message, in order; `None` when it is none.
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(take_varint(&mut bytes)?),
            1 => Value::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = take_varint(&mut bytes)?;
                Value::Bytes(take(&mut bytes, usize::try_from(length).ok()?)?)
            }
            5 => Value::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    Some(fields)
}

/// The number of that field in a message; the last one counts.
pub(super) fn number(fields: &[(u64, Value<'_>)], field: u64) -> Option<u64> {
    fields.iter().rev().find_map(|(key, value)| match value {
        Value::Number(number) if *key == field => Some(*number),
        _ => None,
    })
}

/// The bytes of that field in a message.
pub(super) fn bytes<'a>(fields: &[(u64, Value<'a>)], field: u64) -> Option<&'a [u8]> {
    fields.iter().rev().find_map(|(key, value)| match value {
        Value::Bytes(bytes) if *key == field => Some(*bytes),
        _ => None,
    })
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(first)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's documentation: field 1 = 150, field 2 = "testing", field 3 = a message with the first.
    #[test]
    fn known_encodings() {
        let mut inner = Message::default();
        inner.number(1, 150);
        assert_eq!(inner.as_bytes(), [0x08, 0x96, 0x01]);
        let mut outer = Message::default();
        outer.bytes(2, "testing").message(3, &inner);
        assert_eq!(outer.as_bytes(), b"\x12\x07testing\x1a\x03\x08\x96\x01");
        let fields = read(outer.as_bytes()).unwrap();
        assert_eq!(bytes(&fields, 2), Some(&b"testing"[..]));
        assert_eq!(number(&read(bytes(&fields, 3).unwrap()).unwrap(), 1), Some(150));
        let mut negative = Message::default();
        negative.number(1, -1);
        assert_eq!(number(&read(negative.as_bytes()).unwrap(), 1), Some(u64::MAX));
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        for bad in
            [&b"\x08"[..], b"\x12\x07test", b"\x08\x96", b"\x0b", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
