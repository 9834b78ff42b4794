//! Keys of rows that are a part of a stream, such as a line of an order. A key is also the id of a document, which has at most 512
//! bytes.

use std::fmt::{Display, Write as _};

use sha2::{Digest as _, Sha256};

/// An id of a stream has up to 512 bytes; the rest is for the part.
const ID_BYTES_MAX: usize = 480;

/// The key of a part: `id-part`, or `hash/part` with the id's SHA-256 when the id is too long. The parts of a view are numbers or
/// dates, so that the sign before them tells the two forms apart, whatever the id.
pub(super) fn key(id: &str, part: impl Display) -> String {
    if id.len() <= ID_BYTES_MAX { format!("{id}-{part}") } else { format!("{}/{part}", hash(id)) }
}

fn hash(id: &str) -> String {
    Sha256::digest(id).iter().fold(String::new(), |mut hex, byte| {
        // A text takes everything.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_stream_unless_that_would_be_too_long_for_the_id_of_a_document() {
        assert_eq!(key("10248", 3), "10248-3");
        assert_eq!(key(&"x".repeat(480), 1).len(), 482);
        let long = "\u{1F600}".repeat(128);
        assert_eq!((key(&long, 7).len(), &key(&long, 7)[64..]), (66, "/7"));
        assert_ne!(key(&long, 7), key(&format!("{}y", &long[..508]), 7));
    }

    #[test]
    fn no_short_id_has_the_key_of_a_long_one() {
        let long = "x".repeat(512);
        let hex = key(&long, 1).trim_end_matches("/1").to_owned();
        for id in [hex.clone(), format!("{hex}/1"), format!("{hex}/")] {
            assert_ne!(key(&id, 1), key(&long, 1));
        }
    }
}
