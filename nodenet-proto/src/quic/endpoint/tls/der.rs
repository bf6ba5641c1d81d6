//! DER (X.690), as far as an identity certificate needs it.
//!
//! Responsible for: cutting bytes into tagged elements, and the reverse. Lengths must be minimal
//! and tags take one byte, as in every X.509 certificate. Never: what an element means.

/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(super) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
/// BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;
/// PrintableString.
pub(super) const PRINTABLE_STRING: u8 = 0x13;
/// UTCTime.
pub(super) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(super) const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE and SEQUENCE OF.
pub(super) const SEQUENCE: u8 = 0x30;
/// SET and SET OF.
pub(super) const SET: u8 = 0x31;

/// The tag of `[number]` in constructed form, for example around explicitly tagged fields.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Bytes that are not DER, or not the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// Its tag.
    pub(super) tag: u8,
    /// What follows the length.
    pub(super) content: &'a [u8],
    /// Tag, length and content, as they stand in the input.
    pub(super) whole: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads `bytes` as exactly one element with this tag and returns a reader of its content.
    pub(super) fn of_only(bytes: &'a [u8], tag: u8) -> Result<Self, Malformed> {
        let mut reader = Self::new(bytes);
        let element = reader.expect(tag)?;
        reader.finish()?;
        Ok(Self::new(element.content))
    }

    /// Reads the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        self.optional(tag)?.ok_or(Malformed)
    }

    /// Reads the next element, which must have this tag, and returns a reader of its content.
    pub(super) fn enter(&mut self, tag: u8) -> Result<Self, Malformed> {
        self.expect(tag).map(|element| Self::new(element.content))
    }

    /// Reads the next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Malformed> {
        if self.rest.first() != Some(&tag) {
            return Ok(None);
        }
        self.next().map(Some)
    }

    /// Reads the next element, whatever it is.
    pub(super) fn next(&mut self) -> Result<Element<'a>, Malformed> {
        let (&tag, after_tag) = self.rest.split_first().ok_or(Malformed)?;
        if tag & 0x1f == 0x1f {
            return Err(Malformed); // The number of the tag goes on in further bytes.
        }
        let (len, after_len) = read_len(after_tag)?;
        if len > after_len.len() {
            return Err(Malformed);
        }
        let (content, rest) = after_len.split_at(len);
        let whole = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Ok(Element { tag, content, whole })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses bytes that are left over.
    pub(super) fn finish(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Writes one element with the concatenation of `parts` as content.
///
/// # Panics
/// If the content is 64 KiB or longer; only this node's certificate is ever written.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let [high, low] =
        u16::try_from(len).expect("a certificate is a few hundred bytes").to_be_bytes();
    let mut out = Vec::with_capacity(len + 4);
    out.push(tag);
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// Reads a definite length in its shortest encoding.
fn read_len(bytes: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (&first, rest) = bytes.split_first().ok_or(Malformed)?;
    let count = match first {
        0..=0x7f => return Ok((usize::from(first), rest)),
        0x81..=0x83 => usize::from(first & 0x7f),
        _ => return Err(Malformed), // Indefinite, or beyond 16 MiB, which no handshake carries.
    };
    let (spelled, rest) = rest.split_at_checked(count).ok_or(Malformed)?;
    let len = spelled.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
    let minimal = if count == 1 { len > 0x7f } else { spelled[0] != 0 };
    if minimal { Ok((len, rest)) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, OCTET_STRING, Reader, SEQUENCE, element};

    #[test]
    fn an_element_of_any_length_comes_back_as_it_was_written() {
        for len in [0, 1, 127, 128, 255, 256, 65_535] {
            let content = vec![0xa5; len];
            let written = element(OCTET_STRING, &[&content]);
            let mut reader = Reader::new(&written);
            let read = reader.expect(OCTET_STRING).unwrap();
            assert_eq!((read.content, read.whole), (&content[..], &written[..]), "{len}");
            assert!(reader.is_empty());
            for cut in 0..written.len().min(300) {
                assert_eq!(Reader::new(&written[..cut]).next(), Err(Malformed), "{len} cut {cut}");
            }
        }
    }

    #[test]
    fn only_the_shortest_encoding_of_a_length_is_read() {
        let refused: [&[u8]; 7] = [
            &[4, 0x81, 0x01, 0],          // one byte would do
            &[4, 0x81, 0x7f],             // one byte would do
            &[4, 0x82, 0x00, 0x80],       // leading zero
            &[4, 0x80, 0, 0],             // indefinite
            &[4, 0x84, 0, 0, 0, 1, 0],    // too long a spelling
            &[4, 0xff],                   // reserved
            &[0x1f, 0x81, 0x01, 0x01, 0], // a tag of several bytes
        ];
        for bytes in refused {
            let mut padded = bytes.to_vec();
            padded.resize(bytes.len() + 300, 0);
            assert_eq!(Reader::new(&padded).next(), Err(Malformed), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_optional_may_be_absent_but_not_broken() {
        let mut reader = Reader::new(&[4, 0, 0x30, 5]);
        assert_eq!(reader.optional(SEQUENCE), Ok(None));
        assert!(reader.optional(OCTET_STRING).unwrap().is_some());
        assert_eq!(reader.optional(SEQUENCE), Err(Malformed));
        assert_eq!(reader.finish(), Err(Malformed));
        assert_eq!(Reader::of_only(&[0x30, 0, 0], SEQUENCE).unwrap_err(), Malformed);
    }
}
