//! Bytes in the JSON of parked headers: as text if they are UTF-8, so that SQL can read them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    /// Bytes that are not UTF-8, or that contain NUL, which `jsonb` refuses.
    Hex {
        hex: String,
    },
    /// The format of earlier versions.
    Numbers(Vec<u8>),
}

impl Stored {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Self::Text(text.to_owned()),
            _ => Self::Hex { hex: hex::encode(bytes) },
        }
    }

    fn bytes<E: de::Error>(self) -> Result<Vec<u8>, E> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Hex { hex } => hex::decode(hex).map_err(E::custom),
            Self::Numbers(bytes) => Ok(bytes),
        }
    }
}

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    Stored::of(bytes).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    Stored::deserialize(deserializer)?.bytes()
}

/// The same for bytes that may be null.
pub(super) mod optional {
    use super::{Deserialize as _, Deserializer, Serialize as _, Serializer, Stored};

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(Stored::of).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<Stored>::deserialize(deserializer)?.map(Stored::bytes).transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::record::Header;

    #[test]
    fn headers_are_stored_as_text_where_they_are_text_and_come_back_byte_for_byte() {
        let headers = vec![
            Header::new("ce_id", "ä"),
            Header::new(b"\xff", b"zero\0".to_vec()),
            Header { name: Vec::new(), value: None },
        ];
        let stored = json!([
            {"name": "ce_id", "value": "ä"},
            {"name": {"hex": "ff"}, "value": {"hex": "7a65726f00"}},
            {"name": "", "value": null},
        ]);
        assert_eq!(serde_json::to_value(&headers).unwrap(), stored);
        assert_eq!(serde_json::from_value::<Vec<Header>>(stored).unwrap(), headers);
    }

    #[test]
    fn headers_that_earlier_versions_stored_are_read() {
        let stored = json!([{"name": "ce_id", "value": [49, 255]}, {"name": "odd", "value": null}]);
        let headers: Vec<Header> = serde_json::from_value(stored).unwrap();
        assert_eq!(
            headers,
            [Header::new("ce_id", b"1\xff".to_vec()), Header { name: b"odd".to_vec(), value: None }]
        );
        let broken = json!([{"name": {"hex": "f"}, "value": null}]);
        assert!(serde_json::from_value::<Vec<Header>>(broken).is_err());
    }
}
